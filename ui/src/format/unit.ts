/** Units: which one a value has, and how a value with it is written. */
import { inWords, number, signed } from './number';
import { moment, relative, seconds, type Zone } from './time';

/** What a value counts. */
export type Kind =
  | 'none'
  | 'bytes'
  | 'bits'
  | 'seconds'
  | 'ratio'
  | 'percent'
  | 'timestamp'
  | 'celsius'
  | 'volts'
  | 'amperes'
  | 'joules'
  | 'watts'
  | 'meters'
  | 'grams'
  | 'hertz';

/** A kind, by itself or for each second. */
export interface Unit {
  kind: Kind;
  perSecond: boolean;
}

export const NO_UNIT: Unit = { kind: 'none', perSecond: false };

const SYMBOLS: Partial<Record<Kind, string>> = {
  celsius: '°C',
  volts: 'V',
  amperes: 'A',
  joules: 'J',
  watts: 'W',
  meters: 'm',
  grams: 'g',
  hertz: 'Hz',
};
const IEC = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
const SI = ['', 'k', 'M', 'G', 'T', 'P', 'E'];

/** A value as it is written beside others: `1.5 GiB`, `3.2 MiB/s`, `2m 05s`, `3.12 %`. */
export function value(of: number | null | undefined, unit: Unit = NO_UNIT, zone: Zone = 'UTC'): string {
  const word = inWords(of);
  if (word !== undefined) return word;
  const x = of as number;
  const { kind, perSecond } = normal(unit);
  if (kind === 'timestamp') return `${moment(x * 1000, zone)} · ${relative(x * 1000, Date.now())}`;
  if (kind === 'ratio') return percent(x * 100);
  if (kind === 'percent') return percent(x);
  if (kind === 'seconds') return signed(x, seconds);
  if (perSecond && kind === 'none') return perTime(x);
  const scale = scaleFor(Math.abs(x), unit);
  return scale ? join(number(round(x / scale.by, 4)), scale.symbol) : number(x);
}

/** Three digits, and two decimals at most unless nothing else is left: `28.2 %`, `3.12 %`, `0.72 %`. */
function percent(x: number): string {
  const short = round(x, 3);
  return `${number(Math.abs(short) < 1 && Math.abs(short) >= 0.01 ? Number(short.toFixed(2)) : short)} %`;
}

/** Below one in ten seconds a rate is told by the minute. */
function perTime(x: number): string {
  return x !== 0 && Math.abs(x) < 0.1 ? `${number(x * 60)} /min` : `${number(x)} /s`;
}

/** One power for all values of an axis or a column, by the largest of them. */
export interface Scale {
  by: number;
  symbol: string;
}

/** The power and symbol for values up to `largest`; nothing where the number stands by itself. */
export function scaleFor(largest: number, unit: Unit): Scale | undefined {
  const { kind, perSecond } = normal(unit);
  const tail = perSecond ? '/s' : '';
  switch (kind) {
    case 'bytes': {
      const power = powerOf(largest, 1024, IEC.length);
      return { by: 1024 ** power, symbol: IEC[power] + tail };
    }
    case 'bits': {
      const power = powerOf(largest, 1000, SI.length);
      return { by: 1000 ** power, symbol: `${SI[power]}bit${tail}` };
    }
    case 'ratio':
      return { by: 0.01, symbol: '%' };
    case 'percent':
      return { by: 1, symbol: '%' };
    case 'seconds':
      return secondsScale(largest);
    case 'none':
    case 'timestamp':
      return perSecond ? { by: 1, symbol: '/s' } : undefined;
    default: {
      const power = powerOf(largest, 1000, SI.length);
      return { by: 1000 ** power, symbol: SI[power] + (SYMBOLS[kind] ?? '') + tail };
    }
  }
}

function secondsScale(largest: number): Scale {
  if (largest < 1e-6) return { by: 1e-9, symbol: 'ns' };
  if (largest < 1e-3) return { by: 1e-6, symbol: 'µs' };
  if (largest < 1) return { by: 1e-3, symbol: 'ms' };
  if (largest < 180) return { by: 1, symbol: 's' };
  if (largest < 3 * 3600) return { by: 60, symbol: 'min' };
  return largest < 3 * 86_400 ? { by: 3600, symbol: 'h' } : { by: 86_400, symbol: 'd' };
}

/** Marks of an axis at these values: all with the same power, told once by `symbol`, and with as many decimals as any needs. */
export function axis(values: readonly number[], unit: Unit): { symbol: string; marks: string[] } {
  const largest = Math.max(...values.map(Math.abs));
  const scale = scaleFor(largest, unit);
  const scaled = values.map(x => round(x / (scale?.by ?? 1), 6));
  const decimals = Math.max(0, ...scaled.map(x => (String(x).split('e')[0]?.split('.')[1] ?? '').length));
  const isPlain = largest / (scale?.by ?? 1) < 1000 && decimals <= 5;
  const mark = (x: number) => (isPlain ? signed(x, size => size.toFixed(decimals)) : number(x));
  return { symbol: scale?.symbol ?? '', marks: scaled.map(mark) };
}

/** Seconds for each second is a number without a unit, as is a ratio for each second. */
function normal(unit: Unit): Unit {
  return unit.perSecond && (unit.kind === 'seconds' || unit.kind === 'timestamp') ? NO_UNIT : unit;
}

function powerOf(size: number, base: number, powers: number): number {
  if (!(size >= base)) return 0;
  return Math.min(Math.floor(Math.log(size) / Math.log(base) + 1e-12), powers - 1);
}

function round(x: number, digits: number): number {
  return x === 0 ? 0 : Number(significantOrAll(x, digits));
}

function significantOrAll(x: number, digits: number): string {
  const whole = Math.abs(x) >= 10 ** digits;
  return whole ? String(x) : x.toPrecision(digits);
}

function join(text: string, symbol: string): string {
  return symbol === '' ? text : `${text} ${symbol}`;
}

/** How a unit is named in a chooser or on an axis without marks. */
export function unitName(unit: Unit): string {
  const { kind, perSecond } = normal(unit);
  const names: Partial<Record<Kind, string>> = {
    none: perSecond ? '/s' : 'no unit',
    ratio: '%',
    percent: '%',
    timestamp: 'time',
    seconds: 's',
  };
  const name = names[kind] ?? SYMBOLS[kind] ?? kind;
  return perSecond && kind !== 'none' ? `${name}/s` : name;
}

/** The words that exporters end names with, and OpenMetrics has as units. */
const WORDS: Record<string, Kind> = {
  bytes: 'bytes',
  bits: 'bits',
  seconds: 'seconds',
  ratio: 'ratio',
  ratios: 'ratio',
  percent: 'percent',
  celsius: 'celsius',
  volts: 'volts',
  amperes: 'amperes',
  joules: 'joules',
  watts: 'watts',
  meters: 'meters',
  grams: 'grams',
  hertz: 'hertz',
};

/** The unit of a metric: what its metadata says, else what its name ends with. */
export function unitOfMetric(name: string, said = ''): Unit {
  if (/_(timestamp|start_time|boot_time)_seconds$/.test(name)) return { kind: 'timestamp', perSecond: false };
  // A bucket or count of a histogram of seconds counts observations.
  if (/_(count|bucket)$/.test(name)) return NO_UNIT;
  const word = said || (name.replace(/_(total|sum|created)$/, '').match(/[a-z]+$/)?.[0] ?? '');
  const kind = WORDS[word];
  return kind ? { kind, perSecond: false } : NO_UNIT;
}

/** A node of the tree that `/api/v1/parse_query` answers with, as far as units follow from it. */
export interface Node {
  type: string;
  name?: string;
  op?: string;
  expr?: Node | null;
  lhs?: Node | null;
  rhs?: Node | null;
  args?: Node[] | null;
  func?: { name: string } | null;
  matching?: unknown;
  val?: string;
}

const KEEP = new Set([
  'abs',
  'avg_over_time',
  'ceil',
  'clamp',
  'clamp_max',
  'clamp_min',
  'delta',
  'first_over_time',
  'floor',
  'idelta',
  'increase',
  'label_join',
  'label_replace',
  'last_over_time',
  'max_over_time',
  'min_over_time',
  'predict_linear',
  'quantile_over_time',
  'round',
  'scalar',
  'sort',
  'sort_by_label',
  'sort_by_label_desc',
  'sort_desc',
  'stddev_over_time',
  'sum_over_time',
  'vector',
]);
const RATES = new Set(['rate', 'irate', 'deriv']);
const COUNTS = new Set(['count', 'count_values', 'group']);

/** The unit of what an expression gives, carried through its tree; `said` knows what metadata says of a metric. */
export function unitOfExpr(node: Node | null | undefined, said: (metric: string) => string = () => ''): Unit {
  if (!node) return NO_UNIT;
  const of = (other: Node | null | undefined) => unitOfExpr(other, said);
  switch (node.type) {
    case 'vectorSelector':
    case 'matrixSelector':
      return node.name ? unitOfMetric(node.name, said(node.name)) : NO_UNIT;
    case 'parenExpr':
    case 'subquery':
    case 'unaryExpr':
    case 'stepInvariantExpr':
      return of(node.expr);
    case 'aggregation':
      return COUNTS.has(node.op ?? '') ? NO_UNIT : of(node.expr);
    case 'binaryExpr':
      return ofBinary(node, of);
    case 'call':
      return ofCall(node, of, said);
    default:
      return NO_UNIT;
  }
}

function ofBinary(node: Node, of: (node: Node | null | undefined) => Unit): Unit {
  const [left, right] = [of(node.lhs), of(node.rhs)];
  const isNumber = (side: Node | null | undefined) => side?.type === 'numberLiteral';
  switch (node.op) {
    case '/':
      if (isNumber(node.rhs)) return left;
      if (isNumber(node.lhs)) return NO_UNIT;
      return same(left, right) ? { kind: 'ratio', perSecond: false } : NO_UNIT;
    case '*':
      if (isNumber(node.rhs))
        return node.rhs?.val === '100' && left.kind === 'ratio'
          ? { kind: 'percent', perSecond: false }
          : left;
      return isNumber(node.lhs) ? right : NO_UNIT;
    case '^':
    case 'atan2':
      return NO_UNIT;
    case '%':
      return left;
    default:
      // Sums, comparisons and sets keep what both sides agree on.
      if (isNumber(node.lhs)) return right;
      return isNumber(node.rhs) || same(left, right) || isSet(node.op) ? left : NO_UNIT;
  }
}

function ofCall(
  node: Node,
  of: (node: Node | null | undefined) => Unit,
  said: (metric: string) => string,
): Unit {
  const name = node.func?.name ?? '';
  const args = node.args ?? [];
  if (name === 'time' || name === 'timestamp') return { kind: 'timestamp', perSecond: false };
  if (name === 'histogram_quantile') return ofBuckets(args[1], said);
  // Which argument the result is made of: the vector, behind a number or two.
  const main = args.find(arg => arg.type !== 'numberLiteral' && arg.type !== 'stringLiteral');
  if (RATES.has(name)) {
    const { kind, perSecond } = of(main);
    return perSecond ? NO_UNIT : normal({ kind, perSecond: true });
  }
  return KEEP.has(name) ? of(main) : NO_UNIT;
}

/** Quantiles have the unit of what was observed: of the name without `_bucket`. */
function ofBuckets(node: Node | null | undefined, said: (metric: string) => string): Unit {
  if (!node) return NO_UNIT;
  if (node.name) {
    const family = node.name.replace(/_bucket$/, '');
    return unitOfMetric(family, said(family));
  }
  const below = [node.expr, node.lhs, ...(node.args ?? [])].find(Boolean);
  return ofBuckets(below, said);
}

function same(a: Unit, b: Unit): boolean {
  return a.kind === b.kind && a.perSecond === b.perSecond;
}

function isSet(op: string | undefined): boolean {
  return op === 'and' || op === 'or' || op === 'unless';
}
