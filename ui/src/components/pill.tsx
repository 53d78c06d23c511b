/** A label: its value louder than its name; a press filters, excludes or copies, and the text can be selected. */
import { type Labels, labelName, type Matcher, quoted } from '../format/labels';
import { copy } from './copy';
import { IconCopy, IconFilter, IconFilterOff } from './icons';
import { Menu, MenuItem } from './menu';
import classes from './pill.module.css';

interface Props {
  name: string;
  value: string;
  /** Adds a matcher to the filter of the page; without it a press copies. */
  onFilter?: ((matcher: Matcher) => void) | undefined;
}

export function Pill({ name, value, onFilter }: Props) {
  const text = `${labelName(name)}=${quoted(value)}`;
  return (
    <Menu
      className={classes.pill}
      title={text}
      face={
        <>
          <span className={classes.name}>{name}</span>
          <span className={classes.value}>{value === '' ? '""' : value}</span>
        </>
      }
    >
      {onFilter && (
        <>
          <MenuItem
            icon={<IconFilter size={16} stroke={1.75} />}
            onClick={() => onFilter({ name, op: '=', value })}
          >
            Only {text}
          </MenuItem>
          <MenuItem
            icon={<IconFilterOff size={16} stroke={1.75} />}
            onClick={() => onFilter({ name, op: '!=', value })}
          >
            Without it
          </MenuItem>
        </>
      )}
      <MenuItem icon={<IconCopy size={16} stroke={1.75} />} onClick={() => copy(text)}>
        Copy {text}
      </MenuItem>
    </Menu>
  );
}

/** Labels of a set, without those that stand elsewhere. */
export function Pills({
  labels,
  without = NONE,
  onFilter,
}: {
  labels: Labels;
  without?: readonly string[];
  onFilter?: Props['onFilter'];
}) {
  return (
    <span className={classes.pills} data-pills>
      {Object.entries(labels)
        .filter(([name]) => !without.includes(name))
        .map(([name, value]) => (
          <Pill key={name} name={name} value={value} onFilter={onFilter} />
        ))}
    </span>
  );
}

const NONE: readonly string[] = [];
