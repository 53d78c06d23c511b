import { expect, test } from 'vitest';
import { aligned, autoStep, emptyPanel, HOUR, readPanels, writePanels } from './explore';
import { canonical } from './old';

const lead = (address: string, hash = '') => {
  const [path, search] = address.split('?');
  const to = canonical({ path: path ?? '', params: new URLSearchParams(search) }, hash);
  return to && `${to.path}?${decodeURIComponent(to.params.toString())}`;
};

test.each([
  ['/', '', '/query?'],
  [
    '/graph?g0.expr=up&g0.tab=0&g0.stacked=1&g0.range_input=2h',
    '',
    '/query?g0.expr=up&g0.tab=graph&g0.display_mode=stacked&g0.range_input=2h',
  ],
  ['/query?g0.expr=up&g0.tab=1', '', '/query?g0.expr=up&g0.tab=table'],
  ['/query?g0.expr=up&g0.tab=graph', '', undefined],
  ['/graph?g0.expr=a&g0.step_input=30', '', '/query?g0.expr=a&g0.res_type=fixed&g0.res_step=30'],
  ['/flags', '', '/status?tab=flags'],
  ['/config', '', '/status?tab=config'],
  ['/tsdb-status?limit=20', '', '/storage?limit=20'],
  ['/targets?scrapePool=node', '', '/targets?pool=node'],
  ['/targets?pool=node', '', undefined],
  ['/alertmanager-discovery', '', '/notifications/destinations?'],
  ['/', '#/alerts?filter={a="b"}', '/alerts?filter={a="b"}'],
  ['/', '#/silences', '/notifications/silences?'],
  ['/', '#/silences/new?filter={a="b"}', '/notifications/silences/new?filter={a="b"}'],
  ['/', '#/silences/1f-2', '/notifications/silences/1f-2?'],
  ['/', '#/status', '/status?'],
  ['/metrics-explorer/node_load1', '', '/query?g0.expr=node_load1&g0.tab=graph'],
  ['/alerts', '', undefined],
])('%s%s leads to %s', (from, hash, to) => expect(lead(from, hash)).toBe(to));

test('panels are what their address says', () => {
  const panels = [
    {
      ...emptyPanel(),
      expr: 'sum(rate(a{b="c&d"}[5m]))',
      mode: 'stacked' as const,
      range: 6 * HOUR,
      end: Date.parse('2026-11-30T14:05:09Z'),
    },
    {
      ...emptyPanel(),
      tab: 'table' as const,
      moment: 1_700_000_000_000,
      resolution: { type: 'custom' as const, step: 45_000 },
      legend: 'x y',
    },
  ];
  expect(readPanels(new URLSearchParams(writePanels(panels).toString()))).toEqual(panels);
});

test('addresses of the reference are read', () => {
  const [panel] = readPanels(
    new URLSearchParams(
      'g0.expr=up&g0.tab=table&g0.range_input=30m&g0.end_input=2026-11-30+14:05:09&g0.res_type=auto&g0.res_density=high&g0.display_mode=heatmap',
    ),
  );
  expect(panel).toMatchObject({
    expr: 'up',
    tab: 'table',
    range: HOUR / 2,
    end: Date.parse('2026-11-30T14:05:09Z'),
    mode: 'lines',
    resolution: { type: 'auto', density: 'high' },
  });
});

test('an address makes us ask a bounded number of things', () => {
  const many = new URLSearchParams(Array.from({ length: 500 }, (_, i) => [`g${i}.expr`, 'up']));
  expect(readPanels(many).length).toBe(20);
  expect(readPanels(new URLSearchParams('g0.range_input=-5m&g0.tab=<b>')).at(0)).toEqual(emptyPanel());
});

test.each([
  [HOUR, 800, 15_000],
  [HOUR, 2000, 5000],
  [60_000, 800, 1000],
  [24 * HOUR, 800, 5 * 60_000],
  [365 * 24 * HOUR, 800, 30 * HOUR],
])('a range of %s on %s pixels has points every %s', (range, pixels, step) =>
  expect(autoStep(range, pixels)).toBe(step),
);

test('points stay where they are', () => {
  expect(aligned(100_500, 60_000, 15_000)).toEqual({ start: 30_000, end: 90_000 });
});
