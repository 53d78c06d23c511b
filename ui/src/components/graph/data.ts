/** Answers as a graph takes them: all series on one grid of times, gaps as nothing. */
import type { MatrixItem } from '../../api/types';
import { keyOf, type Labels } from '../../format/labels';

/** A range in milliseconds. */
export interface Grid {
  start: number;
  end: number;
  step: number;
}

/** A series on the grid: one value for each of its times, null where there is no sample. */
export interface Line {
  key: string;
  labels: Labels;
  values: (number | null)[];
  last: number | null;
  min: number | null;
  mean: number | null;
  max: number | null;
}

/** Lines that are drawn at most; the table has all. */
export const DRAWN_MAX = 500;

/** Times of the grid, in seconds. */
export function times({ start, end, step }: Grid): number[] {
  const count = Math.floor((end - start) / step + 1e-9) + 1;
  return Array.from({ length: Math.max(0, count) }, (_, index) => (start + index * step) / 1000);
}

export function toLines(matrix: readonly MatrixItem[], grid: Grid): Line[] {
  const count = times(grid).length;
  return matrix.filter(item => item.values).map(item => toLine(item, grid, count));
}

function toLine(item: MatrixItem, grid: Grid, count: number): Line {
  const values = new Array<number | null>(count).fill(null);
  let [min, max, sum, known] = [Infinity, -Infinity, 0, 0];
  let last: number | null = null;
  for (const [at, text] of item.values ?? []) {
    const index = Math.round((at * 1000 - grid.start) / grid.step);
    if (index < 0 || index >= count) continue;
    const value = Number(text.replace('Inf', 'Infinity'));
    last = value;
    // What cannot be drawn is a gap; the last value says what it is.
    if (!Number.isFinite(value)) continue;
    values[index] = value;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    known += 1;
  }
  const stats = known > 0 ? { min, max, mean: sum / known } : { min: null, max: null, mean: null };
  return { key: keyOf(item.metric), labels: item.metric, values, last, ...stats };
}

/** Running sums from the first line up; a time that no line has stays a gap. */
export function stacked(lines: readonly Line[]): (number | null)[][] {
  const length = lines[0]?.values.length ?? 0;
  const sums = new Array<number>(length).fill(0);
  const isKnown = Array.from({ length }, (_, at) => lines.some(line => line.values[at] !== null));
  return lines.map(line =>
    line.values.map((value, at) => {
      sums[at] = (sums[at] ?? 0) + (value ?? 0);
      return isKnown[at] ? (sums[at] ?? 0) : null;
    }),
  );
}

/** Times where a line has a sample and neither neighbour has: a dot, since no line goes there. */
export function lonely(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  for (let at = 0; at < values.length; at++) {
    const isAlone = values[at] != null && values[at - 1] == null && values[at + 1] == null;
    if (isAlone) found.push(at);
  }
  return found;
}

/** Stretches of times that no line has a sample at, as first and last index. */
export function holes(lines: readonly Line[]): [number, number][] {
  const length = lines[0]?.values.length ?? 0;
  const found: [number, number][] = [];
  for (let at = 0; at < length; at++) {
    if (lines.some(line => line.values[at] !== null)) continue;
    const last = found.at(-1);
    if (last && last[1] === at - 1) last[1] = at;
    else found.push([at, at]);
  }
  return found;
}

/** The lines with the highest peaks, in the order that they have. */
export function highest(lines: readonly Line[], count: number): readonly Line[] {
  if (lines.length <= count) return lines;
  const peak = (line: Line) => line.max ?? -Infinity;
  const least = [...lines].sort((a, b) => peak(b) - peak(a)).slice(0, count);
  const kept = new Set(least);
  return lines.filter(line => kept.has(line));
}

/** Ranks that lines keep as long as a query is the same; new ones take the next. */
export class Ranks {
  private known = new Map<string, number>();

  /** Ranks the lines that are new, highest peak first. */
  take(lines: readonly Line[]): (key: string) => number {
    const fresh = lines
      .filter(line => !this.known.has(line.key))
      .sort((a, b) => (b.max ?? -Infinity) - (a.max ?? -Infinity));
    for (const line of fresh) this.known.set(line.key, this.known.size);
    return key => this.known.get(key) ?? this.known.size;
  }
}

export const SORTS = ['last', 'min', 'mean', 'max', 'name'] as const;
export type Sort = (typeof SORTS)[number];

/** Comma-separated values, a time a line and a series a column; texts that a spreadsheet would run are quoted. */
export function toCsv(lines: readonly Line[], grid: Grid, name: (labels: Labels) => string): string {
  const cell = (text: string) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replace(/"/g, '""')}"`;
  const head = ['time', ...lines.map(line => cell(name(line.labels)))].join(',');
  const rows = times(grid).map((time, at) =>
    [new Date(time * 1000).toISOString(), ...lines.map(line => line.values[at] ?? '')].join(','),
  );
  return [head, ...rows].join('\n');
}
