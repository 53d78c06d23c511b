/** What a graph is made of, in uPlot's words. */
import uPlot from 'uplot';
import { timeMark, type Zone } from '../../format/time';
import { axis, scaleFor, type Unit } from '../../format/unit';
import { colour, type Scheme, strokeOf } from '../../theme/colours';
import { type Grid, holes, type Line, lonely, stacked, times } from './data';

export interface Threshold {
  value: number;
  /** Whether what is above is bad. */
  above: boolean;
  label: string;
}

/** Something that happened, in milliseconds. */
export interface Mark {
  at: number;
  label: string;
}

export interface Look {
  grid: Grid;
  lines: readonly Line[];
  rankOf: (key: string) => number;
  mode: 'lines' | 'stacked' | 'points';
  unit: Unit;
  zone: Zone;
  scheme: Scheme;
  yFromZero?: boolean;
  log?: boolean;
  threshold?: Threshold | undefined;
  marks?: readonly Mark[] | undefined;
}

const FONT = '12px "Inter Variable", system-ui, sans-serif';
/** Space for the marks of y, wide enough for all that number formats write: a graph does not move as numbers change. */
const Y_WIDTH = 60;

export function dataOf(look: Look): uPlot.AlignedData {
  const columns = look.mode === 'stacked' ? stacked(look.lines) : look.lines.map(line => line.values);
  return [times(look.grid), ...columns] as uPlot.AlignedData;
}

export function optionsOf(
  look: Look,
  width: number,
  height: number,
  hooks: uPlot.Hooks.Arrays,
): uPlot.Options {
  const paint = (token: string) => colour(token, look.scheme);
  const { grid, zone } = look;
  const shared = {
    stroke: paint('ink3'),
    font: FONT,
    grid: { stroke: paint('line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    tzDate: at => (zone === 'UTC' ? uPlot.tzDate(new Date(at * 1000), 'Etc/UTC') : new Date(at * 1000)),
    cursor: {
      sync: { key: 'narthex', scales: ['x', null] },
      points: { one: true, size: 7 },
      focus: { prox: 24 },
      drag: { x: true, y: false, setScale: false },
      // A second press is the page's: back to what was before.
      bind: { dblclick: () => () => null },
    },
    focus: { alpha: 0.25 },
    scales: { x: { time: true, range: [grid.start / 1000, grid.end / 1000] }, y: yScale(look) },
    axes: [
      { ...shared, size: 28, space: 72, values: (_, splits) => xMarks(splits, zone) },
      {
        ...shared,
        size: Y_WIDTH,
        gap: 6,
        space: 32,
        ...yIncrements(look.unit),
        values: (_, splits) => yMarks(splits, look.unit),
      },
    ],
    series: [{}, ...look.lines.map((line, index) => seriesOf(line, index, look, paint))],
    bands: look.mode === 'stacked' ? bandsOf(look, paint) : [],
    hooks: {
      ...hooks,
      drawClear: [self => drawHoles(self, look, paint)],
      draw: [self => drawMarks(self, look, paint), ...(hooks.draw ?? [])],
    },
  };
}

function yScale(look: Look): uPlot.Scale {
  if (look.log) return { distr: 3 };
  return {
    range: (_, low, high) => {
      const least = look.threshold ? Math.min(low ?? 0, look.threshold.value) : low;
      const most = look.threshold ? Math.max(high ?? 0, look.threshold.value) : high;
      if (least == null || most == null) return [0, 1];
      const fromZero = look.yFromZero || look.mode === 'stacked';
      const min = fromZero ? Math.min(0, least) : least;
      const max = fromZero ? Math.max(0, most) : most;
      // A line that never changes lies in the middle.
      if (min === max) return min === 0 ? [0, 1] : [Math.min(0, 2 * min), Math.max(0, 2 * max)];
      return uPlot.rangeNum(min, max, {
        min: { pad: 0.1, soft: 0, mode: 3 },
        max: { pad: 0.1, soft: 0, mode: 3 },
      }) as [number, number];
    },
  };
}

/** Marks of bytes stand at powers of two. */
function yIncrements(unit: Unit): Partial<uPlot.Axis> {
  if (unit.kind !== 'bytes') return {};
  return { incrs: Array.from({ length: 70 }, (_, power) => 2 ** power) };
}

function yMarks(splits: number[], unit: Unit): string[] {
  return axis(splits, unit).marks;
}

function xMarks(splits: number[], zone: Zone): string[] {
  const step = splits.length > 1 ? ((splits[1] ?? 0) - (splits[0] ?? 0)) * 1000 : 60_000;
  return splits.map(at => timeMark(at * 1000, step, zone));
}

/** The symbol that all marks of the y axis share. */
export function symbolOf(look: Look): string {
  const all = look.lines.flatMap(line => [line.min ?? 0, line.max ?? 0]);
  const largest = all.reduce(
    (most, value) => Math.max(most, Math.abs(value)),
    Math.abs(look.threshold?.value ?? 0),
  );
  return scaleFor(largest, look.unit)?.symbol ?? '';
}

function seriesOf(line: Line, index: number, look: Look, paint: (token: string) => string): uPlot.Series {
  const { token, dash, alpha } = strokeOf(look.rankOf(line.key));
  const stroke = paint(token);
  const base: uPlot.Series = { stroke, alpha, width: alpha < 1 ? 1 : 1.5, dash, spanGaps: false };
  if (look.mode === 'points')
    return { ...base, paths: () => null, points: { show: true, size: 4, width: 0, fill: stroke, stroke } };
  const dots = {
    size: 5,
    width: 0,
    fill: stroke,
    stroke,
    show: () => false,
    filter: (self: uPlot, index: number) => lonely(self.data[index] ?? []),
  };
  const fill = look.mode === 'stacked' && index === 0 ? { fill: shade(line, look, paint) } : {};
  return { ...base, ...fill, points: dots as unknown as uPlot.Series.Points };
}

/** What lies between each line and the one below it; the lowest is filled down to zero by itself. */
function bandsOf(look: Look, paint: (token: string) => string): uPlot.Band[] {
  return look.lines
    .slice(1)
    .map((line, index) => ({ series: [index + 2, index + 1], fill: shade(line, look, paint) }));
}

function shade(line: Line, look: Look, paint: (token: string) => string): string {
  return `${paint(strokeOf(look.rankOf(line.key)).token)}66`;
}

/** Where nobody has a sample is hatched, and said where there is room. */
function drawHoles(self: uPlot, look: Look, paint: (token: string) => string): void {
  const { ctx, bbox } = self;
  const x = (index: number) => self.valToPos((look.grid.start + index * look.grid.step) / 1000, 'x', true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [first, last] of holes(look.lines)) {
    const left = Math.max(bbox.left, x(first - 1));
    const right = Math.min(bbox.left + bbox.width, x(last + 1));
    if (right - left < 3) continue;
    hatch(ctx, left, bbox.top, right - left, bbox.height, paint('line'));
    ctx.font = scaled(FONT);
    const text = 'no sample';
    if (ctx.measureText(text).width + 16 * uPlot.pxRatio > right - left) continue;
    ctx.fillStyle = paint('ink3');
    ctx.textAlign = 'center';
    ctx.fillText(text, (left + right) / 2, bbox.top + bbox.height / 2);
  }
  ctx.restore();
}

function hatch(
  ctx: CanvasRenderingContext2D,
  left: number,
  top: number,
  width: number,
  height: number,
  stroke: string,
): void {
  const gap = 7 * uPlot.pxRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = uPlot.pxRatio;
  ctx.beginPath();
  for (let at = left - height; at < left + width; at += gap) {
    ctx.moveTo(at, top + height);
    ctx.lineTo(at + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

function scaled(font: string): string {
  return font.replace(/(\d+)px/, (_, size) => `${Number(size) * uPlot.pxRatio}px`);
}

/** The threshold with its bad side, and what happened. */
function drawMarks(self: uPlot, look: Look, paint: (token: string) => string): void {
  const { ctx, bbox } = self;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.font = scaled(FONT);
  if (look.threshold) {
    const y = self.valToPos(look.threshold.value, 'y', true);
    const bad = look.threshold.above ? y - 10 * ratio : y;
    hatch(ctx, bbox.left, bad, bbox.width, 10 * ratio, `${paint('critical')}88`);
    ctx.strokeStyle = paint('critical');
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    label(
      ctx,
      look.threshold.label,
      bbox.left + 6 * ratio,
      look.threshold.above ? y + 14 * ratio : y - 6 * ratio,
      paint('critical'),
      paint('panel'),
    );
  }
  for (const [index, mark] of (look.marks ?? []).entries()) {
    const x = self.valToPos(mark.at / 1000, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = paint('ink2');
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    // Each in a line of its own: what follows closely would be written over the other.
    const wide = ctx.measureText(mark.label).width + 8 * ratio;
    const isRight = x + wide > bbox.left + bbox.width;
    label(
      ctx,
      mark.label,
      isRight ? x - wide : x + 4 * ratio,
      bbox.top + (12 + 14 * index) * ratio,
      paint('ink2'),
      paint('panel'),
    );
  }
  ctx.restore();
}

/** Text with the panel behind it, so that lines do not run through letters. */
function label(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  ink: string,
  back: string,
): void {
  ctx.textAlign = 'left';
  ctx.lineWidth = 4 * uPlot.pxRatio;
  ctx.setLineDash([]);
  ctx.strokeStyle = back;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = ink;
  ctx.fillText(text, x, y);
}
