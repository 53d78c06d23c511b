import { expect, test } from 'vitest';
import { legendFilter, pressed } from '../components/graph/legend';
import { emptyPanel, HOUR } from '../url/explore';
import { lengths, runbookOf } from './alerts/alert';
import { linesOf } from './explore/explain';
import { firstEmpty, nearest } from './explore/why';
import { shifted, zoomed } from './explore/window';
import { pageOf } from './index';
import { endOf } from './notifications/silence';
import { hits, mondayMorning, takesAll } from './notifications/silence-model';

test('paths lead to pages, and parts of them are handed on', () => {
  expect(pageOf('/query')?.entry.title).toBe('Explore');
  expect(pageOf('/alerts/00ff')?.parts).toEqual({ fingerprint: '00ff' });
  expect(pageOf('/notifications/silences/new')?.parts).toEqual({});
  expect(pageOf('/notifications/silences/%61')?.parts).toEqual({ id: 'a' });
  expect(pageOf('/nowhere')).toBeUndefined();
});

test('the window moves by halves and never beyond now', () => {
  const panel = { ...emptyPanel(), range: HOUR };
  const now = 10 * HOUR;
  expect(shifted(panel, now, -1)).toEqual({ end: 9.5 * HOUR });
  expect(shifted({ ...panel, end: 9.5 * HOUR }, now, 1)).toEqual({ end: undefined });
  expect(zoomed(panel, now, 2)).toEqual({ range: 2 * HOUR });
  expect(zoomed({ ...panel, end: 5 * HOUR }, now, 0.5)).toEqual({ range: HOUR / 2, end: 4.75 * HOUR });
});

test('the innermost part that gives nothing is where a result becomes empty', () => {
  const select = { operation: 'select', query: 'a', steps: 1, seriesOut: 0 };
  const plan = {
    operation: 'join',
    query: 'a + b',
    steps: 1,
    seriesOut: 0,
    inputs: [select, { ...select, query: 'b', seriesOut: 3 }],
  };
  expect(firstEmpty(plan)?.query).toBe('a');
  expect(linesOf(plan).map(line => [line.node.query, line.isEmptyHere])).toEqual([
    ['a + b', false],
    ['a', true],
    ['b', false],
  ]);
});

test('near names are those with few letters changed', () => {
  expect(nearest('http_request_total', ['http_requests_total', 'http_request_size', 'up'])[0]).toBe(
    'http_requests_total',
  );
  expect(nearest('up', ['down_and_out'])).toEqual([]);
});

test('the legend shows one alone, all again, and turns one off', () => {
  const lines = ['a', 'b', 'c'].map(key => ({
    key,
    labels: {},
    values: [],
    last: 0,
    min: 0,
    mean: 0,
    max: 0,
  }));
  const alone = pressed('b', lines, new Set(), false);
  expect([...alone]).toEqual(['a', 'c']);
  expect([...pressed('b', lines, alone, false)]).toEqual([]);
  expect([...pressed('b', lines, new Set(), true)]).toEqual(['b']);
});

test('the legend is filtered by text and by matchers', () => {
  const line = { labels: { __name__: 'up', job: 'api' } };
  expect(['', 'API', 'up', '{job="api"}', 'job=~"a.*"'].every(text => legendFilter(text)(line))).toBe(true);
  expect(['web', '{job="web"}', 'job!=api'].some(text => legendFilter(text)(line))).toBe(false);
});

test('firings are counted by their gaps', () => {
  expect(lengths([0, 60, 120, 600, 660], 60)).toEqual({ times: 2, median: 180 });
  expect(lengths([], 60)).toEqual({ times: 0, median: 0 });
});

test('runbooks are pages, never scripts', () => {
  expect(runbookOf({ runbook_url: 'https://a/b' })).toBe('https://a/b');
  expect(runbookOf({ runbook_url: 'javascript:alert(1)' })).toBeUndefined();
});

test('silences end when it was said', () => {
  const now = Date.parse('2026-12-02T10:00:00Z');
  expect(endOf('2h', now)).toBe(now + 2 * HOUR);
  expect(endOf('2026-12-02T09:00:00Z', now)).toBeUndefined();
  expect(endOf('soon', now)).toBeUndefined();
  const monday = new Date(mondayMorning(now));
  expect([monday.getDay(), monday.getHours(), monday.getTime() > now]).toEqual([1, 9, true]);
});

test('what a silence hits is known before, and that it would take everything', () => {
  const alerts = [{ labels: { job: 'a' } }, { labels: { job: 'b' } }];
  expect(hits(alerts, [{ name: 'job', op: '=', value: 'a' }]).length).toBe(1);
  expect(hits(alerts, []).length).toBe(0);
  expect(takesAll([{ name: 'job', op: '=~', value: '.*' }])).toBe(true);
  expect(takesAll([{ name: 'alertname', op: '=~', value: '.+' }])).toBe(true);
  expect(takesAll([{ name: 'job', op: '=', value: 'a' }])).toBe(false);
});
