import { afterEach, expect, test, vi } from 'vitest';
import { rank } from './complete';
import { findErrors, place } from './lint';

afterEach(() => vi.unstubAllGlobals());

test.each([
  [
    'sum(up))',
    'invalid parameter "query": 1:8: parse error: unexpected right parenthesis',
    ')',
    'unexpected right parenthesis',
  ],
  ['sum by (job)\n  (uq p)', '2:7: parse error: unexpected identifier "p"', 'p', 'unexpected identifier "p"'],
  ['{a="ä"} bad', '1:10: parse error: unexpected identifier "bad"', 'bad', 'unexpected identifier "bad"'],
  ['rate(up', '1:8: parse error: unclosed left parenthesis', 'p', 'unclosed left parenthesis'],
  ['up', 'something without a place', 'up', 'something without a place'],
])('the place of %s in %s', (text, reason, marked, message) => {
  const found = place(text, reason);
  expect([text.slice(found.from, found.to), found.message]).toEqual([marked, message]);
});

test('a place behind the text is at its end', () => {
  const found = place('up', '99:99: parse error: x');
  expect(found.to).toBeLessThanOrEqual(2);
  expect(found.from).toBeLessThanOrEqual(found.to);
});

test('errors are the server’s; where it is away there are none', async () => {
  vi.stubGlobal('fetch', () =>
    Promise.resolve(
      new Response('{"status":"error","errorType":"bad_data","error":"1:1: parse error: x"}', {
        status: 400,
      }),
    ),
  );
  expect(await findErrors('up')).toMatchObject([{ from: 0, to: 2, message: 'x', severity: 'error' }]);
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('gone')));
  expect(await findErrors('up')).toEqual([]);
  expect(await findErrors('  ')).toEqual([]);
});

test('counters come first where one is wanted, and what was used before', () => {
  const boost = (label: string, counters: boolean, used = '') =>
    rank({ label, type: 'constant' }, counters, used).boost ?? 0;
  expect(boost('a_total', true)).toBeGreaterThan(boost('a_bytes', true));
  expect(boost('a_total', false)).toBe(boost('a_bytes', false));
  expect(boost('a', false, 'rate(a[5m])')).toBeGreaterThan(boost('b', false, 'rate(a[5m])'));
  expect(rank({ label: 'sum', type: 'function' }, true, '')).toEqual({ label: 'sum', type: 'function' });
});
