import { expect, test } from 'vitest';
import { keyOf, matches, parseMatchers, series, sharedLabels, writeMatchers } from './labels';
import { count, counted, number } from './number';
import * as time from './time';
import { axis, type Node, unitOfExpr, unitOfMetric, value } from './unit';

test.each([
  [0, '0'],
  [0.42031, '0.4203'],
  [1284, '1\u2009284'],
  [1284.6, '1\u2009285'],
  [99_999, '99\u2009999'],
  [123_456, '123.5 k'],
  [1_284_000, '1.284 M'],
  [999_999.9, '1 M'],
  [3.2e-7, '3.2e-7'],
  [-12.5, '−12.5'],
  [1.5e22, '1.5e22'],
  [Number.NaN, 'NaN'],
  [Infinity, '+Inf'],
  [-Infinity, '−Inf'],
  [null, '–'],
  [undefined, '–'],
])('the number %s is written %s', (from, to) => expect(number(from)).toBe(to));

test('counts have all digits', () => {
  expect(count(1_234_567)).toBe('1\u2009234\u2009567');
  expect(counted(1, 'target')).toBe('1 target');
  expect(counted(0, 'target')).toBe('0 targets');
  expect(counted(8, 'series', 'series')).toBe('8 series');
});

test.each([
  [1.5 * 2 ** 30, 'bytes', false, '1.5 GiB'],
  [3.2 * 2 ** 20, 'bytes', true, '3.2 MiB/s'],
  [512, 'bytes', false, '512 B'],
  [2_500_000, 'bits', true, '2.5 Mbit/s'],
  [0.00000085, 'seconds', false, '850 ns'],
  [0.0042, 'seconds', false, '4.2 ms'],
  [1.35, 'seconds', false, '1.35 s'],
  [125, 'seconds', false, '2m 05s'],
  [3 * 86400 + 4 * 3600, 'seconds', false, '3d 4h'],
  [-125, 'seconds', false, '−2m 05s'],
  [0.5, 'seconds', true, '0.5'],
  [0.03124, 'ratio', false, '3.12 %'],
  [0.0072, 'ratio', false, '0.72 %'],
  [0.00001234, 'ratio', false, '0.00123 %'],
  [42.1, 'none', true, '42.1 /s'],
  [0.0416666666, 'none', true, '2.5 /min'],
  [21.5, 'celsius', false, '21.5 °C'],
  [Number.NaN, 'bytes', false, 'NaN'],
] as const)('%s of %s (per second: %s) is %s', (x, kind, perSecond, to) =>
  expect(value(x, { kind, perSecond })).toBe(to),
);

test('a timestamp is a time with its zone', () => {
  const at = Date.parse('2020-11-30T14:05:09Z') / 1000;
  expect(value(at, { kind: 'timestamp', perSecond: false })).toMatch(
    /^Nov 30 2020 14:05:09 UTC · \d+ d ago$/,
  );
});

test('an axis has one power, and as many decimals as any mark needs', () => {
  const bytes = axis([0, 2 ** 29, 3 * 2 ** 30], { kind: 'bytes', perSecond: false });
  expect(bytes).toEqual({ symbol: 'GiB', marks: ['0.0', '0.5', '3.0'] });
  expect(axis([-0.01, 0, 0.018], { kind: 'none', perSecond: false })).toEqual({
    symbol: '',
    marks: ['−0.010', '0.000', '0.018'],
  });
  expect(axis([0, 2_000_000], { kind: 'none', perSecond: false }).marks).toEqual(['0', '2 M']);
});

test.each([
  ['node_memory_MemFree_bytes', '', 'bytes'],
  ['process_cpu_seconds_total', '', 'seconds'],
  ['http_request_duration_seconds_bucket', '', 'none'],
  ['process_start_time_seconds', '', 'timestamp'],
  ['node_boot_timestamp_seconds', '', 'timestamp'],
  ['up', '', 'none'],
  ['odd', 'bytes', 'bytes'],
])('%s (said: %s) counts %s', (name, said, kind) => expect(unitOfMetric(name, said).kind).toBe(kind));

const metric = (name: string): Node => ({ type: 'vectorSelector', name });
const call = (name: string, ...args: Node[]): Node => ({ type: 'call', func: { name }, args });
const sum = (expr: Node): Node => ({ type: 'aggregation', op: 'sum', expr });
const binary = (lhs: Node, op: string, rhs: Node): Node => ({ type: 'binaryExpr', op, lhs, rhs });
const literal = (val: string): Node => ({ type: 'numberLiteral', val });

test.each([
  [
    'a rate adds for each second',
    sum(call('rate', { type: 'matrixSelector', name: 'sent_bytes_total' })),
    'bytes',
    true,
  ],
  ['seconds a second are plain', call('rate', metric('process_cpu_seconds_total')), 'none', false],
  ['x by x is a ratio', binary(sum(metric('a_bytes')), '/', sum(metric('b_bytes'))), 'ratio', false],
  ['counts by counts too', binary(metric('errors'), '/', metric('requests')), 'ratio', false],
  ['other divisions have none', binary(metric('a_bytes'), '/', metric('b_seconds')), 'none', false],
  ['products have none', binary(metric('a_bytes'), '*', metric('b_bytes')), 'none', false],
  ['times a number keeps it', binary(metric('a_bytes'), '*', literal('8')), 'bytes', false],
  [
    'a ratio in percent',
    binary(binary(metric('a_bytes'), '/', metric('b_bytes')), '*', literal('100')),
    'percent',
    false,
  ],
  [
    'a quantile has what was observed',
    call('histogram_quantile', literal('0.9'), sum(call('rate', metric('d_seconds_bucket')))),
    'seconds',
    false,
  ],
  ['a threshold keeps it', binary(metric('a_bytes'), '>', literal('5')), 'bytes', false],
  ['a count has none', { type: 'aggregation', op: 'count', expr: metric('a_bytes') }, 'none', false],
  ['two rates have none', call('deriv', call('rate', metric('a_bytes'))), 'none', false],
] as [string, Node, string, boolean][])('%s', (_, node, kind, perSecond) =>
  expect(unitOfExpr(node)).toEqual({ kind, perSecond }),
);

test('lengths are read and written as queries have them', () => {
  for (const [text, ms] of [
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['90', 90_000],
    ['10d', 864_000_000],
    ['2w', 14 * 86_400_000],
    ['500ms', 500],
  ] as const) {
    expect(time.parseDuration(text)).toBe(ms);
    expect(time.parseDuration(time.writeDuration(ms))).toBe(ms);
  }
  expect(time.writeDuration(864_000_000)).toBe('10d');
  for (const bad of ['', 'x', '1.5d', '5m1h', '-5m']) expect(time.parseDuration(bad)).toBeUndefined();
});

test('times are read from URLs in all forms', () => {
  const at = Date.parse('2026-11-30T14:05:09Z');
  for (const text of [
    '2026-11-30T14:05:09Z',
    '2026-11-30 14:05:09',
    '2026-11-30T15:05:09+01:00',
    String(at / 1000),
  ])
    expect(time.parseTime(text)).toBe(at);
  expect(time.writeTime(at)).toBe('2026-11-30T14:05:09Z');
  expect(time.parseTime('yesterday')).toBeUndefined();
});

test('a time has its zone, and its year where it is another', () => {
  const at = Date.parse('2026-11-30T14:05:09Z');
  expect(time.moment(at, 'UTC', at)).toBe('Nov 30 14:05:09 UTC');
  expect(time.moment(at, 'UTC', at + 400 * 86_400_000)).toBe('Nov 30 2026 14:05:09 UTC');
  expect(time.since(at, 'UTC', at + 60_000)).toBe('14:05 UTC');
  expect(time.relative(at, at + 200_000)).toBe('3 min ago');
  expect(time.relative(at, at - 4 * 3_600_000)).toBe('in 4 h');
});

test('series are written so that they can be pasted into a query', () => {
  expect(series({ __name__: 'up', job: 'a"b' })).toBe('up{job="a\\"b"}');
  expect(series({ __name__: 'up' })).toBe('up');
  expect(series({})).toBe('{}');
  expect(series({ __name__: 'disk.free', 'host.name': 'x' })).toBe('{"disk.free", "host.name"="x"}');
  expect(
    sharedLabels([
      { a: '1', b: '2' },
      { a: '1', b: '3' },
    ]),
  ).toEqual({ a: '1' });
  expect(sharedLabels([{ a: '1' }])).toEqual({});
  expect(keyOf({ b: '1', a: '2' })).toBe(keyOf({ a: '2', b: '1' }));
});

test('matchers are read back as they were written', () => {
  const read = parseMatchers('{job="api", path=~"/a,.*", plain!=x}') ?? [];
  expect(read).toEqual([
    { name: 'job', op: '=', value: 'api' },
    { name: 'path', op: '=~', value: '/a,.*' },
    { name: 'plain', op: '!=', value: 'x' },
  ]);
  expect(parseMatchers(writeMatchers(read))).toEqual(read);
  expect(parseMatchers('job')).toBeUndefined();
  expect(matches({ job: 'api', path: '/a,b' }, read)).toBe(true);
  expect(matches({ job: 'api', path: '/b' }, read)).toBe(false);
  expect(matches({}, [{ name: 'a', op: '=~', value: '(' }])).toBe(false);
});
