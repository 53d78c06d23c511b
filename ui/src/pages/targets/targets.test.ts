import { expect, test } from 'vitest';
import type { Target } from '../../api/types';
import { causeOf, causesOf } from './causes';

const target = (scrapePool: string, lastError: string): Target => ({
  discoveredLabels: {},
  labels: {},
  scrapePool,
  scrapeUrl: '',
  globalUrl: '',
  lastError,
  lastScrape: '',
  lastScrapeDuration: 0,
  health: lastError === '' ? 'up' : 'down',
  scrapeInterval: '',
  scrapeTimeout: '',
});

test.each([
  ['Get "http://a:1/metrics": dial tcp 10.0.0.7:9100: connect: connection refused', 'connection refused'],
  ['context deadline exceeded', 'no answer in time'],
  ['server returned HTTP status 404 Not Found', 'no such path (404)'],
  ['server returned HTTP status 503 Service Unavailable', 'the target failed (5xx)'],
  ['line 118: label "le" twice', 'cannot be read'],
  ['something new', 'something new'],
])('%s is %s', (error, text) => expect(causeOf(error).text).toBe(text));

test('targets that are down for one reason are one cause', () => {
  const refused = (port: number) => `dial tcp 10.0.0.${port}:9100: connection refused`;
  const causes = causesOf([
    target('node', refused(1)),
    target('node', refused(2)),
    target('app', refused(3)),
    target('app', 'line 3: bad'),
    target('app', ''),
  ]);
  expect(causes.map(({ text, count, pools }) => [text, count, pools])).toEqual([
    ['connection refused', 3, ['node', 'app']],
    ['cannot be read', 1, ['app']],
  ]);
});
