import { afterEach, expect, test, vi } from 'vitest';
import { ApiError, asApiError, ask, askAlertmanager, onAnswer } from './client';

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: string): void {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response(body, { status })));
}

async function failure(asking: Promise<unknown>): Promise<ApiError> {
  return asking.then(
    () => {
      throw new Error('it did not fail');
    },
    error => error as ApiError,
  );
}

test('data comes without its envelope, with what was warned of', async () => {
  answer(200, '{"status":"success","data":[1],"warnings":["w"]}');
  expect(await ask('query')).toEqual({ data: [1], warnings: ['w'], infos: [] });
});

test.each([
  [
    400,
    '{"status":"error","errorType":"bad_data","error":"1:1: parse error"}',
    'bad_data',
    '1:1: parse error',
  ],
  [
    422,
    '{"status":"error","errorType":"execution","error":"too many samples"}',
    'execution',
    'too many samples',
  ],
  [503, 'Service Unavailable', 'not_ready', ''],
  [404, '404 page not found\n', 'not_found', '404 page not found'],
  [401, 'Unauthorized', 'forbidden', 'Unauthorized'],
  [502, '<html>bad gateway</html>', 'offline', ''],
  [200, '<html>a sign-in page</html>', 'unexpected', '<html>a sign-in page</html>'],
])('status %s with %s is %s', async (status, body, kind, reason) => {
  answer(status, body);
  const error = await failure(ask('query'));
  expect([error.kind, error.reason]).toEqual([kind, reason]);
  expect(error.fact).not.toBe('');
  expect(error.next).not.toBe('');
});

test('no answer is told to who listens, and so is the next one', async () => {
  const heard: boolean[] = [];
  onAnswer(answered => heard.push(answered));
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('fetch failed')));
  expect((await failure(ask('query'))).kind).toBe('offline');
  answer(200, '{"status":"success","data":1}');
  await ask('query');
  expect(heard).toEqual([false, true]);
});

test('what was aborted is no trouble of the server', async () => {
  const heard: boolean[] = [];
  onAnswer(answered => heard.push(answered));
  vi.stubGlobal('fetch', () => Promise.reject(new DOMException('aborted', 'AbortError')));
  await expect(ask('query')).rejects.toThrow('aborted');
  expect(heard).toEqual([]);
});

test('errors of Alertmanager are read in all their forms', async () => {
  answer(400, '"invalid silence: end in the past"');
  expect((await failure(askAlertmanager('silences'))).reason).toBe('invalid silence: end in the past');
  answer(422, '{"code":602,"message":"comment in body is required"}');
  expect((await failure(askAlertmanager('silences'))).reason).toBe('comment in body is required');
});

test('parameters that are lists are repeated, and long ones go in the body', async () => {
  const asked: [string, RequestInit][] = [];
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    asked.push([url, init]);
    return Promise.resolve(new Response('{"status":"success","data":1}'));
  });
  await ask('labels', { params: { 'match[]': ['a', 'b'], limit: 5, none: undefined } });
  await ask('query', { params: { query: 'up' }, form: true });
  expect(asked[0]?.[0]).toBe('/api/v1/labels?match%5B%5D=a&match%5B%5D=b&limit=5');
  expect([asked[1]?.[0], asked[1]?.[1].method, String(asked[1]?.[1].body)]).toEqual([
    '/api/v1/query',
    'POST',
    'query=up',
  ]);
});

test('whatever is thrown can be shown', () => {
  expect(asApiError('odd').kind).toBe('unexpected');
  expect(asApiError(new ApiError('timeout', 'why')).reason).toBe('why');
});
