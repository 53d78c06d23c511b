/** States and severities: colour says how bad, shape says what is so; a word stands beside every icon. */
import type { Labels } from '../format/labels';
import {
  IconArrowBarToDown,
  IconBellOff,
  IconCheck,
  IconFlameFilled,
  IconHourglassHigh,
  IconMoon,
  IconQuestionMark,
  IconSquare,
  IconSquareX,
} from './icons';
import classes from './state.module.css';

export type AlertState =
  | 'firing'
  | 'pending'
  | 'unknown'
  | 'silenced'
  | 'inhibited'
  | 'muted'
  | 'resolved'
  | 'inactive';
export type Severity = 'critical' | 'warning' | 'info' | 'none';

const WORDS: Record<string, Severity> = {
  critical: 'critical',
  page: 'critical',
  warning: 'warning',
  warn: 'warning',
  info: 'info',
  notice: 'info',
};

/** What the label `severity` means; a word that nobody agreed on is grey, and said. */
export function severityOf(labels: Labels): Severity {
  return WORDS[(labels.severity ?? '').toLowerCase()] ?? 'none';
}

const ORDER: Severity[] = ['critical', 'warning', 'info', 'none'];
export function bySeverity(a: Labels, b: Labels): number {
  return ORDER.indexOf(severityOf(a)) - ORDER.indexOf(severityOf(b));
}

const ICONS = {
  firing: IconFlameFilled,
  pending: IconHourglassHigh,
  unknown: IconQuestionMark,
  silenced: IconBellOff,
  inhibited: IconArrowBarToDown,
  muted: IconMoon,
  resolved: IconCheck,
  inactive: IconCheck,
};

interface AlertBadgeProps {
  state: AlertState;
  severity?: Severity;
  /** How far a pending alert is on its way to firing, 0 to 1. */
  done?: number | undefined;
}

export function AlertBadge({ state, severity = 'none', done }: AlertBadgeProps) {
  const Icon = ICONS[state];
  return (
    <span className={classes.badge} data-state={state} data-severity={severity}>
      {state === 'pending' && done !== undefined && (
        <i className={classes.fill} style={{ width: `${Math.min(100, done * 100)}%` }} />
      )}
      <Icon size={14} stroke={1.75} aria-hidden />
      <span>{state}</span>
    </span>
  );
}

/** The word of the label, as it was written. */
export function SeverityWord({ labels }: { labels: Labels }) {
  if (!labels.severity) return null;
  return (
    <span className={classes.severity} data-severity={severityOf(labels)}>
      {labels.severity}
    </span>
  );
}

export type Health = 'up' | 'down' | 'unknown';
const HEALTH_ICONS = { up: IconSquare, down: IconSquareX, unknown: IconQuestionMark };

/** A target's health: down is filled, unknown hatched, up an outline. */
export function HealthBadge({ health, word }: { health: Health; word?: string }) {
  const Icon = HEALTH_ICONS[health];
  return (
    <span className={classes.health} data-health={health}>
      <Icon size={14} stroke={1.75} aria-hidden />
      <span>{word ?? health}</span>
    </span>
  );
}
