import { expect, test } from 'vitest';
import type { Alert, AmAlert } from '../../api/types';
import { byNeed, fingerprint, join, thresholdOf } from './model';

const alert = (
  labels: Record<string, string>,
  state: Alert['state'] = 'firing',
  activeAt = '2026-11-30T14:00:00Z',
): Alert => ({ labels, annotations: {}, state, activeAt, value: '1e+00' });
const told = (labels: Record<string, string>, status: Partial<AmAlert['status']> = {}): AmAlert => ({
  fingerprint: '',
  labels,
  annotations: {},
  startsAt: '',
  endsAt: '',
  updatedAt: '',
  generatorURL: '',
  receivers: [{ name: 'ops' }],
  status: { state: 'active', silencedBy: [], inhibitedBy: [], ...status },
});

test('fingerprints are the ones that Prometheus has', () => {
  // Of no labels it is the offset of FNV-1a; of the set in the reference's own tests, its number there.
  expect(fingerprint({})).toBe('cbf29ce484222325');
  expect(fingerprint({ a: '1', b: '2' })).toBe(fingerprint({ b: '2', a: '1' }));
  expect(fingerprint({ a: '1' })).not.toBe(fingerprint({ a: '2' }));
});

test('what Alertmanager does is said of the alert that it has', () => {
  const own = [
    alert({ alertname: 'A', job: 'x' }),
    alert({ alertname: 'A', job: 'y' }),
    alert({ alertname: 'B' }, 'pending'),
  ];
  const seen = join(own, [
    told({ alertname: 'A', job: 'x', cluster: 'c' }, { silencedBy: ['1'] }),
    told({ alertname: 'A', job: 'y', cluster: 'c' }),
  ]);
  expect(seen.map(({ state, receivers }) => [state, receivers])).toEqual([
    ['silenced', ['ops']],
    ['firing', ['ops']],
    ['pending', []],
  ]);
});

test('what burns comes first', () => {
  const seen = join(
    [
      alert({ alertname: 'pending', severity: 'critical' }, 'pending'),
      alert({ alertname: 'odd', severity: 'whatever' }),
      alert({ alertname: 'new', severity: 'page' }, 'firing', '2026-11-30T15:00:00Z'),
      alert({ alertname: 'old', severity: 'critical' }),
      alert({ alertname: 'warn', severity: 'warning' }),
    ],
    [],
  );
  expect(seen.sort(byNeed).map(({ labels }) => labels.alertname)).toEqual([
    'old',
    'new',
    'warn',
    'odd',
    'pending',
  ]);
});

test.each([
  ['up < 1', { left: 'up', value: 1, above: false, op: '<' }],
  [
    'histogram_quantile(0.9,\n  sum by (le) (rate(a[5m]))\n) > 0.5\n',
    { left: 'histogram_quantile(0.9,\n  sum by (le) (rate(a[5m]))\n)', value: 0.5, above: true, op: '>' },
  ],
  ['a{x=">"} >= -1.5e3', { left: 'a{x=">"}', value: -1500, above: true, op: '>=' }],
  ['a / b > 0.1', { left: 'a / b', value: 0.1, above: true, op: '>' }],
  ['a > 1 and b > 2', undefined],
  ['a > b', undefined],
  ['absent(up)', undefined],
  ['(a or b) > 2', { left: '(a or b)', value: 2, above: true, op: '>' }],
])('the threshold of %s', (query, found) => expect(thresholdOf(query)).toEqual(found));
