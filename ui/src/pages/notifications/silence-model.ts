/** Silences: matchers in both notations, lengths of time, and what one hits. */
import type { Silence, SilenceMatcher } from '../../api/types';
import { type Labels, type Matcher, matches, writeMatchers } from '../../format/labels';

export function toMatchers(of: readonly SilenceMatcher[]): Matcher[] {
  return of.map(({ name, value, isRegex, isEqual }) => ({
    name,
    value,
    op: isRegex ? (isEqual ? '=~' : '!~') : isEqual ? '=' : '!=',
  }));
}

export function fromMatchers(of: readonly Matcher[]): SilenceMatcher[] {
  return of.map(({ name, value, op }) => ({
    name,
    value,
    isRegex: op.endsWith('~'),
    isEqual: op.startsWith('='),
  }));
}

export function text(silence: Pick<Silence, 'matchers'>): string {
  return `{${writeMatchers(toMatchers(silence.matchers))}}`;
}

/** Alerts that a silence would hit now. */
export function hits<T extends { labels: Labels }>(alerts: readonly T[], matchers: readonly Matcher[]): T[] {
  return matchers.length === 0 ? [] : alerts.filter(alert => matches(alert.labels, matchers));
}

/** The next Monday at nine, by the reader's clock. */
export function mondayMorning(now: number): number {
  const date = new Date(now);
  const days = (8 - date.getDay()) % 7 || 7;
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days, 9).getTime();
}

/** Whether matchers that are empty or match everything are all there is: such a silence takes all. */
export function takesAll(matchers: readonly Matcher[]): boolean {
  return matchers.every(
    matcher => matches({}, [matcher]) || (matcher.op === '=~' && /^\.[*+]$/.test(matcher.value)),
  );
}
