/** A query explained: what each part gave and took, and where it becomes empty or dear. */
import { useMemo } from 'react';
import { queryRange } from '../../api/prometheus';
import type { Explained, PlanNode } from '../../api/types';
import { IconAlertTriangle } from '../../components/icons';
import { Answered, Notice } from '../../components/notice';
import { count, number } from '../../format/number';
import { seconds } from '../../format/time';
import { value } from '../../format/unit';
import { usePoll } from '../../live/poll';
import classes from './explore.module.css';
import { FactsText } from './facts';
import { gridOf } from './graph-tab';
import type { PanelProps } from './panel';

/** A part that takes so much of the whole time is marked. */
const DEAR = 0.5;

export function ExplainTab({ panel, now, onOpen }: PanelProps) {
  const grid = useMemo(() => gridOf(panel, now, 900), [panel, now]);
  const answer = usePoll({
    key: ['explain', panel.expr, grid],
    ask: async signal => (await queryRange(panel.expr, grid, signal, true)).data.explain,
  });
  return (
    <Answered of={answer} rows={5}>
      {explained =>
        explained ? (
          <Tree explained={explained} onOpen={onOpen} />
        ) : (
          <Notice fact="This server explains no queries." next="It is of another version than this page." />
        )
      }
    </Answered>
  );
}

interface Line {
  node: PlanNode;
  depth: number;
  /** Share of the processor time of the whole. */
  share: number;
  isEmptyHere: boolean;
  id: string;
}

/** The tree as lines, the outermost first. */
export function linesOf(plan: PlanNode): Line[] {
  const all: Line[] = [];
  const walk = (node: PlanNode, depth: number, id: string) => {
    const inputs = node.inputs ?? [];
    const isEmptyHere = node.seriesOut === 0 && inputs.every(input => (input.seriesOut ?? 1) > 0);
    all.push({ node, depth, share: node.cpuSeconds ?? 0, isEmptyHere, id });
    for (const [index, input] of inputs.entries()) walk(input, depth + 1, `${id}.${index}`);
  };
  walk(plan, 0, '0');
  const total = all.reduce((sum, line) => sum + line.share, 0);
  return all.map(line => ({ ...line, share: total > 0 ? line.share / total : 0 }));
}

function Tree({ explained, onOpen }: { explained: Explained; onOpen: (expr: string) => void }) {
  const lines = linesOf(explained.plan);
  const { totals } = explained;
  return (
    <>
      {totals && (
        <FactsText>
          {seconds(totals.wallSeconds)} · {number(totals.samplesRead)} samples read · at most{' '}
          {value(totals.peakBytes, { kind: 'bytes', perSecond: false })} held
        </FactsText>
      )}
      <div className={classes.scroll}>
        <table className={classes.tree}>
          <thead>
            <tr>
              <th>part</th>
              <th className={classes.figure}>series in</th>
              <th className={classes.figure}>out</th>
              <th className={classes.figure}>decoded</th>
              <th className={classes.figure}>time</th>
              <th>share of the time</th>
            </tr>
          </thead>
          <tbody>
            {lines.map(line => (
              <Part key={line.id} line={line} onOpen={onOpen} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Part({
  line: { node, depth, share, isEmptyHere },
  onOpen,
}: {
  line: Line;
  onOpen: (expr: string) => void;
}) {
  return (
    <tr data-empty={isEmptyHere || undefined}>
      <td>
        <div className={classes.part} style={{ paddingLeft: depth * 20 }}>
          {depth > 0 && (
            <span className="ink3" aria-hidden>
              └
            </span>
          )}
          <button
            type="button"
            className={classes.node}
            title="Look at this part by itself"
            onClick={() => onOpen(node.query)}
          >
            <code>{node.query}</code>
          </button>
          <span className="ink3">{[node.operation, ...(node.notes ?? [])].join(' · ')}</span>
          {isEmptyHere && <Warn text="empty here" />}
          {share >= DEAR && depth > 0 && <Warn text={`${Math.round(share * 100)} % of the time`} />}
        </div>
      </td>
      <td className={classes.figure}>{figure(node.seriesIn)}</td>
      <td className={classes.figure}>{figure(node.seriesOut)}</td>
      <td className={classes.figure}>{node.samplesDecoded ? number(node.samplesDecoded) : ''}</td>
      <td className={classes.figure}>{node.cpuSeconds === undefined ? '' : seconds(node.cpuSeconds)}</td>
      <td>
        <span className={classes.meter} role="img" aria-label={`${Math.round(share * 100)} %`}>
          <i style={{ width: `${share * 100}%` }} />
        </span>
      </td>
    </tr>
  );
}

function Warn({ text }: { text: string }) {
  return (
    <span className={classes.warn}>
      <IconAlertTriangle size={14} stroke={1.75} aria-hidden /> {text}
    </span>
  );
}

function figure(value: number | undefined): string {
  return value === undefined ? '' : count(value);
}
