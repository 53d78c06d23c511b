/** Alerts as pages see them: those of the rules, joined with what Alertmanager does about them. */

import { amAlerts, ifInside } from '../../api/alertmanager';
import { alerts, rules } from '../../api/prometheus';
import type { Alert, AlertingRule, AmAlert, RuleGroup } from '../../api/types';
import { type AlertState, bySeverity, type Severity, severityOf } from '../../components/state';
import type { Labels } from '../../format/labels';

export interface SeenAlert {
  fingerprint: string;
  labels: Labels;
  annotations: Labels;
  state: AlertState;
  severity: Severity;
  /** Since when it is active, in milliseconds. */
  since: number;
  value: number;
  /** Who is told; empty where no Alertmanager is inside. */
  receivers: string[];
  silencedBy: string[];
  inhibitedBy: string[];
}

/** The label set's fingerprint, as Prometheus and Alertmanager have it: FNV-1a over names and values, sorted. */
export function fingerprint(labels: Labels): string {
  const bytes = new TextEncoder();
  let hash = 14695981039346656037n;
  const mix = (byte: number) => {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 1099511628211n);
  };
  for (const name of Object.keys(labels).sort()) {
    for (const text of [name, labels[name] ?? '']) {
      for (const byte of bytes.encode(text)) mix(byte);
      mix(255);
    }
  }
  return hash.toString(16).padStart(16, '0');
}

export interface Seen {
  alerts: SeenAlert[];
  /** Whether an Alertmanager is inside. */
  hasAlertmanager: boolean;
}

export async function see(signal?: AbortSignal): Promise<Seen> {
  const [own, theirs] = await Promise.all([alerts(signal), ifInside(() => amAlerts([], signal))]);
  return { alerts: join(own, theirs ?? []), hasAlertmanager: theirs !== undefined };
}

/** Alertmanager's labels are the rule's and the external ones: an alert of ours is theirs if they have all of it. */
export function join(own: readonly Alert[], theirs: readonly AmAlert[]): SeenAlert[] {
  const byName = new Map<string, AmAlert[]>();
  for (const alert of theirs) {
    const name = alert.labels.alertname ?? '';
    byName.set(name, [...(byName.get(name) ?? []), alert]);
  }
  return own.map(alert => {
    const told = (byName.get(alert.labels.alertname ?? '') ?? []).find(other =>
      hasAll(other.labels, alert.labels),
    );
    return {
      fingerprint: fingerprint(alert.labels),
      labels: alert.labels,
      annotations: alert.annotations,
      state: stateOf(alert, told),
      severity: severityOf(alert.labels),
      since: Date.parse(alert.activeAt),
      value: Number(alert.value.replace('Inf', 'Infinity')),
      receivers: told?.receivers.map(receiver => receiver.name) ?? [],
      silencedBy: told?.status.silencedBy ?? [],
      inhibitedBy: told?.status.inhibitedBy ?? [],
    };
  });
}

export function hasAll(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

function stateOf(alert: Alert, told: AmAlert | undefined): AlertState {
  if (alert.state !== 'firing' || !told) return alert.state;
  if (told.status.silencedBy.length > 0) return 'silenced';
  if (told.status.inhibitedBy.length > 0) return 'inhibited';
  return (told.status.mutedBy ?? []).length > 0 ? 'muted' : 'firing';
}

const STATES: AlertState[] = [
  'firing',
  'unknown',
  'pending',
  'silenced',
  'inhibited',
  'muted',
  'resolved',
  'inactive',
];

/** What burns first: by state, by severity, the longest. */
export function byNeed(a: SeenAlert, b: SeenAlert): number {
  return (
    STATES.indexOf(a.state) - STATES.indexOf(b.state) || bySeverity(a.labels, b.labels) || a.since - b.since
  );
}

/** What an alert says, in its rule's words. */
export function words(alert: { labels: Labels; annotations: Labels }): string {
  const { summary, description, message } = alert.annotations;
  return summary || description || message || alert.labels.alertname || '';
}

export interface Origin {
  group: RuleGroup;
  rule: AlertingRule;
}

/** The rule that an alert is of. */
export async function originOf(labels: Labels, signal?: AbortSignal): Promise<Origin | undefined> {
  for (const group of await rules(signal)) {
    for (const rule of group.rules) {
      if (rule.type !== 'alerting' || rule.name !== labels.alertname) continue;
      if ((rule.alerts ?? []).some(alert => fingerprint(alert.labels) === fingerprint(labels)))
        return { group, rule };
    }
  }
  return undefined;
}

/** A comparison with a number at the end of an expression: what is compared, and with what. */
export function thresholdOf(
  query: string,
): { left: string; value: number; above: boolean; op: string } | undefined {
  const match = /^([\s\S]+?)\s*(>=|<=|>|<)\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*$/i.exec(query);
  if (!match?.[1] || !match[2] || !balanced(match[1])) return undefined;
  return { left: match[1].trim(), value: Number(match[3]), above: match[2].startsWith('>'), op: match[2] };
}

/** Whether parentheses close, and no weaker operator stands outside of them: then the comparison is of all that is left. */
function balanced(text: string): boolean {
  let depth = 0;
  let outside = '';
  for (const letter of text.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '')) {
    if ('([{'.includes(letter)) depth += 1;
    if (depth === 0) outside += letter;
    if (')]}'.includes(letter)) depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0 && !/\b(and|or|unless)\b|[<>]|==|!=/i.test(outside);
}
