/** Finding out why a result is empty: the part that gives nothing, the name or matcher that nothing has, and what is near. */
import { labelValues, parseQuery, queryRange, searchMetrics, selector } from '../../api/prometheus';
import type { PlanNode } from '../../api/types';
import type { Grid } from '../../components/graph/data';
import { labelName, type Matcher, quoted } from '../../format/labels';
import type { Node } from '../../format/unit';

export interface Why {
  reason: string;
  /** A part of the query to look at by itself. */
  part?: string;
  /** What to put in place of what, best first. */
  instead: { from: string; to: string }[];
}

/** Names and values that are looked through for near ones. */
const LOOKED_MAX = 500;
/** Selectors of one part that are looked at. */
const SELECTORS_MAX = 4;
const OFFERED = 3;

interface Selector {
  name: string;
  matchers: Matcher[];
}

export async function findOut(expr: string, grid: Grid, signal: AbortSignal): Promise<Why | undefined> {
  const { data } = await queryRange(expr, grid, signal, true);
  const node = data.explain && firstEmpty(data.explain.plan);
  if (!node) return undefined;
  if ((node.inputs ?? []).length > 0) {
    const gave = (node.inputs ?? [])
      .map(input => `${input.query} gives ${input.seriesOut ?? 0} series`)
      .join('; ');
    return {
      reason: `${node.query} leaves nothing: ${gave}.`,
      part: node.inputs?.[0]?.query ?? node.query,
      instead: [],
    };
  }
  const { data: tree } = await parseQuery<SelectorNode>(node.query, signal);
  for (const one of selectorsOf(tree).slice(0, SELECTORS_MAX)) {
    const why = await ofSelector(one, signal);
    if (why) return why;
  }
  return { reason: `${node.query} has no samples in this time.`, part: node.query, instead: [] };
}

/** The innermost part that gives nothing. */
export function firstEmpty(node: PlanNode): PlanNode | undefined {
  for (const input of node.inputs ?? []) {
    const found = firstEmpty(input);
    if (found) return found;
  }
  return node.seriesOut === 0 ? node : undefined;
}

interface SelectorNode extends Node {
  matchers?: { name: string; type: Matcher['op']; value: string }[];
}

function selectorsOf(node: SelectorNode | null | undefined): Selector[] {
  if (!node) return [];
  const below = [node.expr, node.lhs, node.rhs, ...(node.args ?? [])].flatMap(other =>
    selectorsOf(other as SelectorNode),
  );
  if (!/Selector$/.test(node.type) || !node.name) return below;
  const matchers = (node.matchers ?? []).filter(({ name }) => name !== '__name__');
  return [
    { name: node.name, matchers: matchers.map(({ name, type, value }) => ({ name, op: type, value })) },
    ...below,
  ];
}

async function ofSelector({ name, matchers }: Selector, signal: AbortSignal): Promise<Why | undefined> {
  const known = await labelValues('__name__', selector(name, []), 1, signal);
  if (known.length === 0) {
    const like = await searchMetrics(
      name.slice(0, Math.max(4, Math.floor(name.length / 2))),
      LOOKED_MAX,
      signal,
    );
    return {
      reason: `There is no metric ${name}.`,
      instead: nearest(name, like)
        .slice(0, OFFERED)
        .map(to => ({ from: name, to })),
    };
  }
  for (const matcher of matchers) {
    const having = await labelValues('__name__', selector(name, [matcher]), 1, signal);
    if (having.length > 0) continue;
    const values = await labelValues(matcher.name, selector(name, []), LOOKED_MAX, signal);
    const text = (value: string) => `${labelName(matcher.name)}${matcher.op}${quoted(value)}`;
    const near = nearest(matcher.value, values);
    const offered = (near.length > 0 ? near : values).slice(0, OFFERED);
    const has =
      values.length === 0
        ? `${name} has no label ${matcher.name}`
        : `it has ${values.slice(0, OFFERED).map(quoted).join(', ')}${values.length > OFFERED ? ' and others' : ''}`;
    return {
      reason: `${text(matcher.value)} matches nothing of ${name}: ${has}.`,
      part: name,
      instead: offered.map(value => ({ from: text(matcher.value), to: text(value) })),
    };
  }
  return undefined;
}

/** Names by how many letters have to be changed, up to a third of them. */
export function nearest(name: string, among: readonly string[]): string[] {
  return among
    .map(other => ({ other, away: distance(name, other) }))
    .filter(({ away }) => away <= Math.max(2, name.length / 3))
    .sort((a, b) => a.away - b.away)
    .map(({ other }) => other);
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
