/** The unit of a query's result: worked out from its tree and what is said of its metrics. */
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { metadata, parseQuery } from '../../api/prometheus';
import { type Kind, NO_UNIT, type Node, type Unit, unitOfExpr } from '../../format/unit';

/** Metrics of one query that are asked about. */
const ASKED_MAX = 5;

export function useUnit(expr: string, chosen: string): Unit {
  const { data } = useQuery({
    queryKey: ['unit', expr],
    queryFn: ({ signal }) => workOut(expr, signal),
    enabled: expr !== '' && chosen === '',
    staleTime: 60_000,
  });
  const own = useMemo(() => readUnit(chosen), [chosen]);
  return chosen === '' ? (data ?? NO_UNIT) : own;
}

/** A unit as the address has it: `bytes`, `bytes/s`. */
export function readUnit(text: string): Unit {
  const perSecond = text.endsWith('/s');
  return { kind: (perSecond ? text.slice(0, -2) : text) as Kind, perSecond };
}

export const UNITS = [
  'none',
  'none/s',
  'bytes',
  'bytes/s',
  'bits',
  'bits/s',
  'seconds',
  'ratio',
  'percent',
  'timestamp',
  'hertz',
  'celsius',
  'watts',
  'joules',
];

async function workOut(expr: string, signal: AbortSignal): Promise<Unit> {
  const { data: tree } = await parseQuery<Node>(expr, signal);
  const said = new Map<string, string>();
  for (const name of names(tree).slice(0, ASKED_MAX)) {
    const family = name.replace(/_bucket$/, '');
    const about = await metadata(family, signal).catch(() => undefined);
    said.set(family, about?.unit ?? '');
  }
  return unitOfExpr(tree, metric => said.get(metric) ?? '');
}

function names(node: Node | null | undefined): string[] {
  if (!node) return [];
  const own = node.name && /Selector$/.test(node.type) ? [node.name] : [];
  const below = [node.expr, node.lhs, node.rhs, ...(node.args ?? [])].flatMap(names);
  return [...new Set([...own, ...below])];
}
