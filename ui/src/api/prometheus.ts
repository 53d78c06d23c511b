/** The calls of the Prometheus API that pages make. */
import { type Matcher, writeMatchers } from '../format/labels';
import { type Answer, ask } from './client';
import type {
  Alert,
  Block,
  BuildInfo,
  Features,
  Labels,
  MetricMetadata,
  Notice,
  QueryData,
  RelabelStep,
  RuleGroup,
  RuntimeInfo,
  Targets,
  TsdbStatus,
} from './types';

/** Series that a table or graph takes of one answer; what was cut is said as a warning of the server. */
export const SERIES_MAX = 10_000;

/** A range in milliseconds. */
export interface Range {
  start: number;
  end: number;
  step: number;
}

const seconds = (ms: number) => ms / 1000;

export function queryAt(
  query: string,
  at: number | undefined,
  signal?: AbortSignal,
): Promise<Answer<QueryData>> {
  const time = at === undefined ? undefined : seconds(at);
  return ask('query', { params: { query, time, limit: SERIES_MAX, stats: 'true' }, form: true, signal });
}

export function queryRange(
  query: string,
  range: Range,
  signal?: AbortSignal,
  explain = false,
): Promise<Answer<QueryData>> {
  const times = { start: seconds(range.start), end: seconds(range.end), step: seconds(range.step) };
  const params = {
    query,
    ...times,
    limit: SERIES_MAX,
    stats: 'true',
    explain: explain ? 'analyze' : undefined,
  };
  return ask('query_range', { params, form: true, signal });
}

/** A single number that a query gives, for badges; nothing where it gives none. */
export async function queryNumber(query: string, signal?: AbortSignal): Promise<number | undefined> {
  const { data } = await ask<QueryData>('query', { params: { query }, form: true, signal });
  const sample = data.resultType === 'vector' ? data.result[0]?.value : undefined;
  return sample && Number(sample[1]);
}

export const parseQuery = <T>(query: string, signal?: AbortSignal) =>
  ask<T>('parse_query', { params: { query }, form: true, signal });
export const formatQuery = (query: string, signal?: AbortSignal) =>
  ask<string>('format_query', { params: { query }, form: true, signal });

export const alerts = async (signal?: AbortSignal) =>
  (await ask<{ alerts: Alert[] }>('alerts', { signal })).data.alerts;
export const rules = async (signal?: AbortSignal) =>
  (await ask<{ groups: RuleGroup[] }>('rules', { signal })).data.groups;

export const targets = async (state: 'active' | 'dropped' | 'any', pool?: string, signal?: AbortSignal) =>
  (await ask<Targets>('targets', { params: { state, scrapePool: pool }, signal })).data;
export const scrapePools = async (signal?: AbortSignal) =>
  (await ask<{ scrapePools: string[] }>('scrape_pools', { signal })).data.scrapePools;
export const relabelSteps = async (scrapePool: string, labels: Labels, signal?: AbortSignal) =>
  (
    await ask<{ steps: RelabelStep[] }>('targets/relabel_steps', {
      params: { scrapePool, labels: JSON.stringify(labels) },
      signal,
    })
  ).data.steps;

export const metadata = async (metric: string, signal?: AbortSignal) =>
  (
    await ask<Record<string, MetricMetadata[]>>('metadata', {
      params: { metric, limit_per_metric: 1 },
      signal,
    })
  ).data[metric]?.[0];

/** Names that begin with, then names that hold `part`; at most `limit`. */
export async function searchMetrics(part: string, limit: number, signal?: AbortSignal): Promise<string[]> {
  const plain = part.replace(/[^\w:.]/g, '');
  const find = async (expression: string) => {
    const match = `{__name__=~${JSON.stringify(expression)}}`;
    return (await ask<string[]>('label/__name__/values', { params: { 'match[]': match, limit }, signal }))
      .data;
  };
  const escaped = plain.replace(/\./g, '\\.');
  const first = await find(`${escaped}.+|${escaped || '.+'}`);
  if (first.length >= limit || plain === '') return first;
  const inside = await find(`.+${escaped}.*`);
  return [...new Set([...first, ...inside])].slice(0, limit);
}

/** Names of labels beside the matchers. */
export const labelNames = async (match: string | undefined, limit: number, signal?: AbortSignal) =>
  (await ask<string[]>('labels', { params: { 'match[]': match, limit }, signal })).data;
/** Values of a label beside the matchers. */
export const labelValues = async (
  name: string,
  match: string | undefined,
  limit: number,
  signal?: AbortSignal,
) =>
  (
    await ask<string[]>(`label/${encodeURIComponent(escapeName(name))}/values`, {
      params: { 'match[]': match, limit },
      signal,
    })
  ).data;

/** As the API wants names that are not of plain letters: `U__` and code points. */
function escapeName(name: string): string {
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name)) return name;
  const escaped = [...name].map(letter =>
    letter === '_' ? '__' : /[a-zA-Z0-9]/.test(letter) ? letter : `_${letter.codePointAt(0)?.toString(16)}_`,
  );
  return `U__${escaped.join('')}`;
}

export function selector(metric: string | undefined, matchers: readonly Matcher[]): string | undefined {
  if (!metric && matchers.length === 0) return undefined;
  const all: Matcher[] = metric ? [{ name: '__name__', op: '=', value: metric }, ...matchers] : [...matchers];
  return `{${writeMatchers(all)}}`;
}

export const tsdbStatus = async (limit: number, signal?: AbortSignal) =>
  (await ask<TsdbStatus>('status/tsdb', { params: { limit }, signal })).data;
export const blocks = async (signal?: AbortSignal) =>
  (await ask<{ blocks: Block[] }>('status/tsdb/blocks', { signal })).data.blocks;
export const runtimeInfo = async (signal?: AbortSignal) =>
  (await ask<RuntimeInfo>('status/runtimeinfo', { signal })).data;
export const buildInfo = async (signal?: AbortSignal) =>
  (await ask<BuildInfo>('status/buildinfo', { signal })).data;
export const flags = async (signal?: AbortSignal) =>
  (await ask<Record<string, string>>('status/flags', { signal })).data;
export const config = async (signal?: AbortSignal) =>
  (await ask<{ yaml: string }>('status/config', { signal })).data.yaml;
export const features = async (signal?: AbortSignal) => (await ask<Features>('features', { signal })).data;
export const notices = async (signal?: AbortSignal) =>
  (await ask<Notice[]>('notifications', { signal })).data;
export const walReplay = async (signal?: AbortSignal) =>
  (await ask<{ min: number; max: number; current: number }>('status/walreplay', { signal })).data;
