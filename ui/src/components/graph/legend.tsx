/** The legend of a graph: a table that filters and sorts, with what all series share said once. */
import { type MouseEvent, useMemo } from 'react';
import { type Labels, matches, parseMatchers, series, sharedLabels } from '../../format/labels';
import { type Unit, value } from '../../format/unit';
import { useSettings } from '../../store/local';
import { FilterBox } from '../filter';
import { Pills } from '../pill';
import { type Column, Table } from '../table';
import type { Line } from './data';
import classes from './legend.module.css';
import { Swatch } from './swatch';

interface Props {
  lines: readonly Line[];
  rankOf: (key: string) => number;
  unit: Unit;
  filter: string;
  onFilter: (text: string) => void;
  sort: string;
  onSort: (sort: string) => void;
  /** Lines that are not drawn. */
  hidden: ReadonlySet<string>;
  onHide: (hidden: ReadonlySet<string>) => void;
  onFocus: (key: string | undefined) => void;
}

export function Legend({
  lines,
  rankOf,
  unit,
  filter,
  onFilter,
  sort,
  onSort,
  hidden,
  onHide,
  onFocus,
}: Props) {
  const { zone } = useSettings();
  const shared = useMemo(() => sharedLabels(lines.map(line => line.labels)), [lines]);
  const shown = useMemo(() => lines.filter(legendFilter(filter)), [lines, filter]);
  const columns = useMemo<Column<Line>[]>(() => {
    const without = new Set(Object.keys(shared));
    const number = (key: 'last' | 'min' | 'mean' | 'max'): Column<Line> => ({
      key,
      title: key,
      width: 'minmax(64px, 104px)',
      number: true,
      cell: line => value(line[key], unit, zone),
      compare: (a, b) => (a[key] ?? -Infinity) - (b[key] ?? -Infinity),
      ...(key === 'last' ? { phone: 'side' as const } : {}),
    });
    const name: Column<Line> = {
      key: 'name',
      title:
        shown.length === lines.length
          ? `series (${lines.length})`
          : `series (${shown.length} of ${lines.length})`,
      width: 'minmax(0, 1fr)',
      phone: 'main',
      compare: (a, b) => series(a.labels).localeCompare(series(b.labels)),
      cell: line => (
        <span className={classes.name} title={series(line.labels)}>
          <Swatch rank={rankOf(line.key)} />
          <span className="mono">{series(line.labels, without)}</span>
        </span>
      ),
    };
    return [name, number('last'), number('min'), number('mean'), number('max')];
  }, [shared, shown.length, lines.length, rankOf, unit, zone]);

  const press = (line: Line, event?: MouseEvent) =>
    onHide(pressed(line.key, lines, hidden, event?.ctrlKey || event?.metaKey || false));
  return (
    <div className={classes.legend}>
      <div className={classes.bar}>
        {Object.keys(shared).length > 0 && (
          <span className={classes.shared}>
            <span className="ink3">all have</span> <Pills labels={shared} />
          </span>
        )}
        {lines.length > 6 && (
          <FilterBox
            label="Filter the legend"
            placeholder={'text, or {label="value"}'}
            value={filter}
            onChange={onFilter}
          />
        )}
        {hidden.size > 0 && (
          <button type="button" className={classes.all} onClick={() => onHide(new Set())}>
            Show all again
          </button>
        )}
      </div>
      <Table
        label="Series"
        columns={columns}
        rows={shown}
        rowKey={line => line.key}
        sort={sort || '-max'}
        onSort={onSort}
        onOpen={press}
        onHover={line => onFocus(line && !hidden.has(line.key) ? line.key : undefined)}
        dimmed={line => hidden.has(line.key)}
      />
    </div>
  );
}

/** A press shows one alone, and all again; with Ctrl it turns one on or off. */
export function pressed(
  key: string,
  lines: readonly Line[],
  hidden: ReadonlySet<string>,
  toggle: boolean,
): ReadonlySet<string> {
  if (toggle) {
    const next = new Set(hidden);
    if (!next.delete(key)) next.add(key);
    return next;
  }
  const others = lines.filter(line => line.key !== key).map(line => line.key);
  const isAlone = !hidden.has(key) && others.every(other => hidden.has(other));
  return new Set(isAlone ? [] : others);
}

/** By matchers, where the text is some; else by any part of the series. */
export function legendFilter(text: string): (line: { labels: Labels }) => boolean {
  const trimmed = text.trim();
  if (trimmed === '') return () => true;
  const matchers = /[=~]/.test(trimmed) ? parseMatchers(trimmed) : undefined;
  if (matchers && matchers.length > 0) return line => matches(line.labels, matchers);
  const part = trimmed.toLowerCase();
  return line => series(line.labels).toLowerCase().includes(part);
}
