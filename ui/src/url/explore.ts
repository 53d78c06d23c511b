/** The panels of Explore, as their address has them: `g0.expr=…&g0.tab=graph&…`. */
import { parseDuration, parseTime, writeDuration, writeTime } from '../format/time';

export type Tab = 'graph' | 'table' | 'explain';
export type Mode = 'lines' | 'stacked' | 'points';
/** How far apart the points of a graph are: by the width of the graph, or as given, in milliseconds. */
export type Resolution =
  | { type: 'auto'; density: 'low' | 'medium' | 'high' }
  | { type: 'fixed' | 'custom'; step: number };

/** One panel. Times and lengths in milliseconds. */
export interface Panel {
  expr: string;
  tab: Tab;
  mode: Mode;
  range: number;
  /** Where the graph ends; nothing for now. */
  end: number | undefined;
  /** When a table is asked; nothing for now. */
  moment: number | undefined;
  resolution: Resolution;
  yFromZero: boolean;
  showTree: boolean;
  log: boolean;
  /** Overrides the unit that was worked out. */
  unit: string;
  /** Text that the legend is filtered by. */
  legend: string;
  sort: string;
}

export const HOUR = 3_600_000;

export function emptyPanel(): Panel {
  return {
    expr: '',
    tab: 'graph',
    mode: 'lines',
    range: HOUR,
    end: undefined,
    moment: undefined,
    resolution: { type: 'auto', density: 'medium' },
    yFromZero: false,
    showTree: false,
    log: false,
    unit: '',
    legend: '',
    sort: '',
  };
}

/** Panels that one address may have: what a person can look at, and a bound of what an address makes us ask. */
export const PANELS_MAX = 20;

/** All panels of an address, at least one. Words that are none of ours are as if they were not there. */
export function readPanels(params: URLSearchParams): Panel[] {
  const numbers = new Set<number>();
  for (const name of params.keys()) {
    const match = /^g(\d{1,4})\./.exec(name);
    if (match) numbers.add(Number(match[1]));
  }
  const sorted = [...numbers].sort((a, b) => a - b).slice(0, PANELS_MAX);
  return sorted.length === 0 ? [emptyPanel()] : sorted.map(number => readPanel(params, number));
}

function readPanel(params: URLSearchParams, number: number): Panel {
  const get = (field: string) => params.get(`g${number}.${field}`) ?? '';
  const word = <T extends string>(field: string, words: readonly T[]): T | undefined =>
    words.find(known => known === get(field));
  const empty = emptyPanel();
  const range = parseDuration(get('range_input'));
  return {
    expr: get('expr'),
    tab: word('tab', ['graph', 'table', 'explain']) ?? 'graph',
    mode: word('display_mode', ['lines', 'stacked', 'points']) ?? 'lines',
    range: range && range > 0 ? range : empty.range,
    end: parseTime(get('end_input')),
    moment: parseTime(get('moment_input')),
    resolution: readResolution(get),
    yFromZero: get('y_axis_min') === 'zero',
    showTree: get('show_tree') === '1',
    log: get('log') === '1',
    unit: get('unit'),
    legend: get('legend'),
    sort: get('sort'),
  };
}

function readResolution(get: (field: string) => string): Resolution {
  const type = get('res_type');
  // The reference writes seconds; lengths are read as well.
  const step = parseDuration(get('res_step'));
  if ((type === 'fixed' || type === 'custom') && step && step > 0) return { type, step };
  const density = (['low', 'medium', 'high'] as const).find(word => word === get('res_density')) ?? 'medium';
  return { type: 'auto', density };
}

/** The address's parameters of these panels; what is as ever is left out. */
export function writePanels(panels: readonly Panel[]): URLSearchParams {
  const params = new URLSearchParams();
  const empty = emptyPanel();
  for (const [index, panel] of panels.entries()) {
    const set = (field: string, text: string | undefined) => {
      if (text !== undefined && text !== '') params.set(`g${index}.${field}`, text);
    };
    // Always there, so that a panel without anything is one.
    params.set(`g${index}.expr`, panel.expr);
    set('tab', panel.tab);
    set('display_mode', panel.mode === empty.mode ? undefined : panel.mode);
    set('range_input', panel.range === empty.range ? undefined : writeDuration(panel.range));
    set('end_input', panel.end === undefined ? undefined : writeTime(panel.end));
    set('moment_input', panel.moment === undefined ? undefined : writeTime(panel.moment));
    if (panel.resolution.type !== 'auto') {
      set('res_type', panel.resolution.type);
      set('res_step', String(panel.resolution.step / 1000));
    } else if (panel.resolution.density !== 'medium') {
      set('res_type', 'auto');
      set('res_density', panel.resolution.density);
    }
    set('y_axis_min', panel.yFromZero ? 'zero' : undefined);
    set('show_tree', panel.showTree ? '1' : undefined);
    set('log', panel.log ? '1' : undefined);
    set('unit', panel.unit);
    set('legend', panel.legend);
    set('sort', panel.sort);
  }
  return params;
}

const NICE = [1, 2, 5, 15, 30];

/** The step of a graph so many pixels wide: range by half the pixels, rounded up to 1, 2, 5, 15, 30 of a unit. In milliseconds. */
export function autoStep(
  range: number,
  pixels: number,
  density: 'low' | 'medium' | 'high' = 'medium',
): number {
  const points = Math.max(10, (pixels / 2) * { low: 0.25, medium: 1, high: 2 }[density]);
  const least = range / points;
  for (const unit of [1000, 60_000, HOUR]) {
    const found = NICE.map(by => by * unit).find(step => step >= least);
    if (found) return found;
  }
  const days = Math.ceil(least / (24 * HOUR));
  return days * 24 * HOUR;
}

/** A range whose ends are whole steps, so that its points stay where they are while time goes by. */
export function aligned(end: number, range: number, step: number): { start: number; end: number } {
  const last = Math.floor(end / step) * step;
  return { start: Math.floor((end - range) / step) * step, end: last };
}
