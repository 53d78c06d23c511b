/** A query over time, drawn. */
import { Checkbox, NativeSelect, SegmentedControl } from '@mantine/core';
import { useCallback, useMemo, useRef, useState } from 'react';
import { queryRange } from '../../api/prometheus';
import type { MatrixItem } from '../../api/types';
import { download } from '../../components/copy';
import { DRAWN_MAX, type Grid, highest, type Line, Ranks, toCsv, toLines } from '../../components/graph/data';
import { describe, Graph } from '../../components/graph/graph';
import { Legend, legendFilter } from '../../components/graph/legend';
import { IconDownload } from '../../components/icons';
import { BARE, Menu, MenuItem } from '../../components/menu';
import { Answered, Notice } from '../../components/notice';
import { series } from '../../format/labels';
import { count } from '../../format/number';
import { seconds } from '../../format/time';
import { type Unit, unitName } from '../../format/unit';
import { usePoll } from '../../live/poll';
import { useSettings } from '../../store/local';
import { useScheme } from '../../theme/colours';
import { aligned, autoStep, type Mode, type Panel } from '../../url/explore';
import { Empty } from './empty';
import classes from './explore.module.css';
import { Facts } from './facts';
import type { PanelProps } from './panel';
import { readUnit, UNITS, useUnit } from './use-unit';

/** Points of one series that the server gives. */
const STEPS_MAX = 11_000;

export function gridOf(panel: Panel, now: number, width: number): Grid {
  const wanted =
    panel.resolution.type === 'auto'
      ? autoStep(panel.range, width, panel.resolution.density)
      : panel.resolution.step;
  const step = Math.max(wanted, Math.ceil(panel.range / (STEPS_MAX - 2)));
  const end = panel.end ?? now;
  // A chosen end is shown as it was chosen; the clock's moves by whole steps.
  return panel.end === undefined
    ? { ...aligned(end, panel.range, step), step }
    : { start: end - Math.floor(panel.range / step) * step, end, step };
}

/** Asks on whole steps; where they find nothing, up to the last moment: what is younger than a step is something to see. */
async function askGraph(expr: string, grid: Grid, now: number | undefined, signal: AbortSignal) {
  const answer = { ...(await queryRange(expr, grid, signal)), grid };
  if (now === undefined || answer.data.resultType !== 'matrix' || answer.data.result.length > 0)
    return answer;
  const latest = { start: grid.start + (now - grid.end), end: now, step: grid.step };
  return { ...(await queryRange(expr, latest, signal)), grid: latest };
}

/** How wide the graph will be, so that what is asked first is asked once. */
function firstWidth(): number {
  return Math.ceil(Math.max(400, (document.querySelector('main')?.clientWidth ?? 1000) - 120) / 200) * 200;
}

export function GraphTab(props: PanelProps) {
  const { panel, now } = props;
  const [width, setWidth] = useState(firstWidth);
  // Other steps for other widths, but not for each pixel.
  const onWidth = useCallback((pixels: number) => setWidth(Math.ceil(pixels / 200) * 200), []);
  const grid = useMemo(() => gridOf(panel, now, width), [panel, now, width]);
  const answer = usePoll({
    key: ['range', panel.expr, grid, now],
    ask: signal => askGraph(panel.expr, grid, panel.end === undefined ? now : undefined, signal),
  });
  return (
    <Answered of={answer} rows={12}>
      {({ data, warnings, infos, grid }) => (
        <>
          <Facts
            data={data}
            warnings={warnings}
            infos={infos}
            note={`${seconds(grid.step / 1000)} a point`}
          />
          <GraphOf
            {...props}
            matrix={data.resultType === 'matrix' ? data.result : []}
            grid={grid}
            onWidth={onWidth}
          />
        </>
      )}
    </Answered>
  );
}

interface GraphOfProps extends PanelProps {
  matrix: MatrixItem[];
  grid: Grid;
  onWidth: (width: number) => void;
}

const NONE: ReadonlySet<string> = new Set();

function GraphOf({ panel, matrix, grid, onWidth, onChange, onZoom, onZoomOut, onOpen }: GraphOfProps) {
  const { zone } = useSettings();
  const scheme = useScheme();
  const unit = useUnit(panel.expr, panel.unit);
  const [focused, setFocused] = useState<string>();
  const [hiding, setHiding] = useState<{ expr: string; keys: ReadonlySet<string> }>({
    expr: panel.expr,
    keys: NONE,
  });
  const hidden = hiding.expr === panel.expr ? hiding.keys : NONE;
  const lines = useMemo(() => toLines(matrix, grid), [matrix, grid]);
  const ranks = useRef<{ expr: string; ranks: Ranks }>(undefined);
  if (ranks.current?.expr !== panel.expr) ranks.current = { expr: panel.expr, ranks: new Ranks() };
  const rankOf = useMemo(() => (ranks.current?.ranks ?? new Ranks()).take(lines), [lines]);
  const shown = useMemo(
    () =>
      highest(
        lines.filter(legendFilter(panel.legend)).filter(line => !hidden.has(line.key)),
        DRAWN_MAX,
      ),
    [lines, panel.legend, hidden],
  );
  const drawn = useMemo(() => inRank(shown, rankOf), [shown, rankOf]);
  if (matrix.length === 0) return <Empty panel={panel} grid={grid} onChange={onChange} onOpen={onOpen} />;
  if (lines.length === 0) return <Histograms count={matrix.length} expr={panel.expr} onOpen={onOpen} />;
  return (
    <>
      <Choices panel={panel} unit={unit} onChange={onChange} lines={lines} grid={grid} />
      {lines.length > DRAWN_MAX && (
        <p className={classes.cut}>
          {count(lines.length)} series, the {DRAWN_MAX} highest drawn; the table has all.
        </p>
      )}
      <div className={classes.graph}>
        <Graph
          grid={grid}
          lines={drawn}
          rankOf={rankOf}
          mode={panel.mode}
          unit={unit}
          zone={zone}
          scheme={scheme}
          yFromZero={panel.yFromZero}
          log={panel.log}
          focused={focused}
          onZoom={onZoom}
          onZoomOut={onZoomOut}
          onWidth={onWidth}
          label={describe({ lines: drawn, grid, zone, unit }, panel.expr)}
        />
      </div>
      <Legend
        lines={lines}
        rankOf={rankOf}
        unit={unit}
        filter={panel.legend}
        onFilter={legend => onChange({ legend }, { replace: true })}
        sort={panel.sort}
        onSort={sort => onChange({ sort }, { replace: true })}
        hidden={hidden}
        onHide={keys => setHiding({ expr: panel.expr, keys })}
        onFocus={setFocused}
      />
    </>
  );
}

/** Grey ones first, so that those with a colour lie on top; stacks from the legend's first upwards. */
function inRank(lines: readonly Line[], rankOf: (key: string) => number): Line[] {
  return [...lines].sort((a, b) => rankOf(b.key) - rankOf(a.key));
}

function Histograms({
  count,
  expr,
  onOpen,
}: {
  count: number;
  expr: string;
  onOpen: (expr: string) => void;
}) {
  const quantile = `histogram_quantile(0.9, ${expr})`;
  return (
    <div className={classes.inside}>
      <Notice
        fact={`${count} series of native histograms: they have no single value to draw.`}
        reason="The table has their counts and sums."
        next={
          <button type="button" className={classes.inline} onClick={() => onOpen(quantile)}>
            Draw {quantile}
          </button>
        }
      />
    </div>
  );
}

const MODES: { value: Mode; label: string }[] = [
  { value: 'lines', label: 'Lines' },
  { value: 'stacked', label: 'Stacked' },
  { value: 'points', label: 'Points' },
];

function Choices({
  panel,
  unit,
  onChange,
  lines,
  grid,
}: {
  panel: Panel;
  unit: Unit;
  onChange: PanelProps['onChange'];
  lines: readonly Line[];
  grid: Grid;
}) {
  const units = ['', ...UNITS].map(text => ({
    value: text,
    label: text === '' ? `unit: ${unitName(unit)}` : unitName(readUnit(text)),
  }));
  const saveCsv = () => download('query.csv', 'text/csv', toCsv(lines, grid, series));
  const saveJson = () =>
    download(
      'query.json',
      'application/json',
      JSON.stringify(
        { query: panel.expr, ...grid, series: lines.map(({ labels, values }) => ({ labels, values })) },
        null,
        1,
      ),
    );
  return (
    <div className={classes.choices}>
      <SegmentedControl
        aria-label="Draw as"
        data={MODES}
        value={panel.mode}
        onChange={mode => onChange({ mode: mode as Mode })}
      />
      <NativeSelect
        aria-label="Unit"
        data={units}
        value={panel.unit}
        onChange={event => onChange({ unit: event.currentTarget.value })}
      />
      <Checkbox
        label="from zero"
        checked={panel.yFromZero}
        onChange={event => onChange({ yFromZero: event.currentTarget.checked })}
        disabled={panel.log}
      />
      <Checkbox
        label="log"
        checked={panel.log}
        onChange={event => onChange({ log: event.currentTarget.checked })}
      />
      <span className={classes.gap} />
      <Menu
        align="end"
        className={BARE}
        label="Download"
        title="Download"
        face={<IconDownload size={16} stroke={1.75} />}
      >
        <MenuItem onClick={saveCsv}>CSV</MenuItem>
        <MenuItem onClick={saveJson}>JSON</MenuItem>
      </Menu>
    </div>
  );
}
