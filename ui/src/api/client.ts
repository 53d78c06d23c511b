/** Asking the server: one way for all of the API, with errors as fact, reason and next step. */
import { BASE } from '../url/location';

/** What kind of trouble it is: as the API says it, or one of ours. */
export type Trouble =
  | 'bad_data'
  | 'execution'
  | 'canceled'
  | 'timeout'
  | 'internal'
  | 'not_ready'
  | 'unavailable'
  | 'not_found'
  | 'forbidden'
  | 'offline'
  | 'unexpected';

/** A request that failed, in words that can be shown as they are. */
export class ApiError extends Error {
  readonly kind: Trouble;
  readonly status: number;
  /** What is so. */
  readonly fact: string;
  /** Why, in the server's words. */
  readonly reason: string;
  /** What to do. */
  readonly next: string;

  constructor(kind: Trouble, reason: string, status = 0) {
    const [fact, next] = WORDS[kind];
    super(reason === '' ? fact : `${fact} ${reason}`);
    this.name = 'ApiError';
    this.kind = kind;
    this.status = status;
    this.fact = fact;
    this.reason = reason;
    this.next = next;
  }
}

const WORDS: Record<Trouble, [fact: string, next: string]> = {
  bad_data: ['The server cannot read this.', 'Change what is asked for.'],
  execution: ['The query cannot be answered.', 'Ask for less: fewer series, a shorter range, a larger step.'],
  canceled: ['The query was cancelled.', 'Run it again.'],
  timeout: ['The query took too long.', 'Ask for a shorter range, or raise --query.timeout.'],
  internal: ['The server made a mistake.', 'Its log says more. Try again.'],
  not_ready: ['The server is starting.', 'It is asked again until it is ready.'],
  unavailable: ['This is switched off.', 'The flag that turns it on stands in the reason.'],
  not_found: [
    'This server does not have that.',
    'It may be of another version than this page: load it anew.',
  ],
  forbidden: ['You may not see this.', 'Sign in as somebody who may.'],
  offline: ['No answer from the server.', 'It is asked again until it answers.'],
  unexpected: ['The answer is not one of this API.', 'Look at what stands between this page and the server.'],
};

/** Whether the server answers; live/connection.ts listens. */
type Listener = (answered: boolean) => void;
let heard: Listener = () => {};
export function onAnswer(listener: Listener): void {
  heard = listener;
}

export type Params = Record<string, string | number | readonly string[] | undefined>;

export interface Options {
  params?: Params;
  /** A body of JSON; it makes the request a POST. */
  json?: unknown;
  /** Parameters in the body, for what may be long. */
  form?: boolean;
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  signal?: AbortSignal | undefined;
}

/** An answer of the Prometheus API, apart from its envelope. */
export interface Answer<T> {
  data: T;
  warnings: string[];
  infos: string[];
}

interface Envelope<T> {
  status: string;
  data: T;
  errorType?: string;
  error?: string;
  warnings?: string[];
  infos?: string[];
}

/** Asks the Prometheus API: `path` behind `/api/v1/`. Throws an ApiError. */
export async function ask<T>(path: string, options: Options = {}): Promise<Answer<T>> {
  const response = await send(`api/v1/${path}`, options);
  const body = await readJson<Envelope<T>>(response);
  if (body?.status === 'success')
    return { data: body.data, warnings: body.warnings ?? [], infos: body.infos ?? [] };
  if (body?.status === 'error') throw new ApiError(known(body.errorType), body.error ?? '', response.status);
  throw ofStatus(response.status, '');
}

/** Asks Alertmanager's API: `path` behind `/api/v2/`. Throws an ApiError. */
export async function askAlertmanager<T>(path: string, options: Options = {}): Promise<T> {
  const response = await send(`api/v2/${path}`, options);
  if (response.ok) return (await readJson<T>(response)) as T;
  const text = await response.text().catch(() => '');
  throw ofStatus(response.status, plainText(text));
}

/** Any other address of the server: `-/ready`. The status counts, not the body. */
export async function probe(path: string, signal?: AbortSignal): Promise<Response> {
  return send(path, { signal });
}

async function send(path: string, { params, json, form, method, signal }: Options): Promise<Response> {
  const search = encode(params ?? {});
  const url = BASE + path + (search === '' || form ? '' : `?${search}`);
  const init: RequestInit = {
    method: method ?? (json !== undefined || form ? 'POST' : 'GET'),
    credentials: 'same-origin',
  };
  if (signal) init.signal = signal;
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers = { 'Content-Type': 'application/json' };
  } else if (form) {
    init.body = new URLSearchParams(search);
  }
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    heard(false);
    throw new ApiError('offline', '');
  }
  // A proxy that answers in the server's place tells that the server does not.
  heard(response.status !== 502 && response.status !== 504);
  return response;
}

function encode(params: Params): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined) continue;
    for (const one of typeof value === 'object' ? value : [value]) search.append(name, String(one));
  }
  return search.toString();
}

async function readJson<T>(response: Response): Promise<T | undefined> {
  const text = await response.text();
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    if (response.ok) throw new ApiError('unexpected', text.slice(0, 200), response.status);
    throw ofStatus(response.status, plainText(text));
  }
}

/** Error bodies of Alertmanager's API are JSON strings or objects with a message. */
function plainText(text: string): string {
  try {
    const body = JSON.parse(text) as unknown;
    if (typeof body === 'string') return body;
    if (body && typeof body === 'object' && 'message' in body) return String(body.message);
  } catch {
    // Plain text already.
  }
  return text.trim().slice(0, 500);
}

function known(kind: string | undefined): Trouble {
  return kind !== undefined && kind in WORDS ? (kind as Trouble) : 'internal';
}

function ofStatus(status: number, reason: string): ApiError {
  if (status === 401 || status === 403) return new ApiError('forbidden', reason, status);
  if (status === 404) return new ApiError('not_found', reason, status);
  if (status === 503) return new ApiError('not_ready', '', status);
  if (status === 502 || status === 504) return new ApiError('offline', '', status);
  return status >= 500 ? new ApiError('internal', reason, status) : new ApiError('bad_data', reason, status);
}

/** What went wrong, whatever was thrown. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError('unexpected', error instanceof Error ? error.message : String(error));
}
