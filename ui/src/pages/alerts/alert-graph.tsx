/** What a rule compares, with its threshold, and when the alert began. */
import { useMemo, useState } from 'react';
import { queryRange } from '../../api/prometheus';
import { toLines } from '../../components/graph/data';
import { describe, Graph } from '../../components/graph/graph';
import { Answered, Notice } from '../../components/notice';
import { type Unit, value } from '../../format/unit';
import { useNow } from '../../live/clock';
import { usePoll } from '../../live/poll';
import { useSettings } from '../../store/local';
import { useScheme } from '../../theme/colours';
import { aligned, autoStep, HOUR } from '../../url/explore';
import type { Origin, SeenAlert, thresholdOf } from './model';

interface Props {
  alert: SeenAlert;
  origin: Origin;
  threshold: ReturnType<typeof thresholdOf>;
  unit: Unit;
}

const HEIGHT = 240;

export function AlertGraph({ alert, origin, threshold, unit }: Props) {
  const { zone } = useSettings();
  const scheme = useScheme();
  const [width, setWidth] = useState(900);
  const now = useNow();
  // From well before it began; half a minute is fresh enough.
  const until = Math.ceil(now / 30_000) * 30_000;
  const grid = useMemo(() => {
    const range = Math.max(HOUR / 2, Math.min(1.5 * (until - alert.since), 14 * 24 * HOUR));
    const step = autoStep(range, Math.ceil(width / 200) * 200);
    return { ...aligned(until, range, step), step };
  }, [until, alert.since, width]);
  const query = threshold?.left ?? origin.rule.query;
  const answer = usePoll({
    key: ['alert graph', query, grid],
    ask: async signal => ({ data: (await queryRange(query, grid, signal)).data, grid }),
  });
  const lines = useMemo(() => {
    const found =
      answer.data?.data.resultType === 'matrix' ? toLines(answer.data.data.result, answer.data.grid) : [];
    const own = found.filter(line =>
      Object.entries(line.labels).every(([name, text]) => name === '__name__' || alert.labels[name] === text),
    );
    return own.length > 0 ? own : found;
  }, [answer.data, alert.labels]);
  const marks = useMemo(() => {
    const fired = alert.since + origin.rule.duration * 1000;
    const pending = { at: alert.since, label: 'pending' };
    return origin.rule.duration > 0 && alert.state !== 'pending'
      ? [pending, { at: fired, label: 'fired' }]
      : [{ ...pending, label: alert.state === 'pending' ? 'pending' : 'fired' }];
  }, [alert.since, alert.state, origin.rule.duration]);
  const limit = useMemo(
    () =>
      threshold && {
        value: threshold.value,
        above: threshold.above,
        label: `${threshold.op} ${value(threshold.value, unit)}`,
      },
    [threshold, unit],
  );
  const rankOf = useMemo(() => (key: string) => lines.findIndex(line => line.key === key), [lines]);
  return (
    <Answered of={answer} rows={8}>
      {({ grid }) =>
        lines.length === 0 ? (
          <Notice fact="What the rule looks at has no samples in this time." />
        ) : (
          <Graph
            grid={grid}
            lines={lines}
            rankOf={rankOf}
            mode="lines"
            unit={unit}
            zone={zone}
            scheme={scheme}
            threshold={limit}
            marks={marks}
            height={HEIGHT}
            onWidth={setWidth}
            label={describe({ lines, grid, zone, unit }, query)}
          />
        )
      }
    </Answered>
  );
}
