/** What is said in place of an empty result: why, and what to do. */
import { useQuery } from '@tanstack/react-query';
import type { Grid } from '../../components/graph/data';
import { Notice } from '../../components/notice';
import { writeDuration } from '../../format/time';
import type { Panel } from '../../url/explore';
import classes from './explore.module.css';
import type { PanelProps } from './panel';
import { findOut } from './why';

interface Props {
  panel: Panel;
  grid: Grid;
  onChange: PanelProps['onChange'];
  onOpen: (expr: string) => void;
}

export function Empty({ panel, grid, onChange, onOpen }: Props) {
  const { data } = useQuery({
    queryKey: ['why', panel.expr, panel.range, panel.end],
    queryFn: ({ signal }) => findOut(panel.expr, grid, signal),
    staleTime: 60_000,
  });
  const step = (label: string, run: () => void) => (
    <button key={label} type="button" className={classes.inline} onClick={run}>
      {label}
    </button>
  );
  const longer = panel.range * 24;
  // What is written otherwise in the query than in its tree is not put in place of anything.
  const instead = (data?.instead ?? []).filter(({ from }) => panel.expr.includes(from));
  return (
    <div className={classes.inside}>
      <Notice
        fact={
          panel.end === undefined
            ? `No series match in the last ${writeDuration(panel.range)}.`
            : 'No series match in the time that is shown.'
        }
        reason={data?.reason}
        next={
          <>
            {instead.map(({ from, to }) =>
              step(`Use ${to}`, () => onChange({ expr: panel.expr.replace(from, () => to) })),
            )}
            {data?.part &&
              data.part !== panel.expr &&
              step(`Look at ${data.part}`, () => onOpen(data.part as string))}
            {step(`Look at ${writeDuration(longer)}`, () => onChange({ range: longer }))}
            {step('Explain', () => onChange({ tab: 'explain' }))}
          </>
        }
      />
    </div>
  );
}
