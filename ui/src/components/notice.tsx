/** What is said where there is nothing to show, or not what was wanted: fact, reason, next step. */
import { type ReactNode, useEffect, useState } from 'react';
import { type ApiError, asApiError } from '../api/client';
import { clock } from '../format/time';
import { useSettings } from '../store/local';
import { IconAlertTriangle, IconInfoCircle, IconSquareX } from './icons';
import classes from './notice.module.css';

type Tone = 'plain' | 'info' | 'warning' | 'critical';

interface Props {
  tone?: Tone;
  fact: ReactNode;
  reason?: ReactNode;
  next?: ReactNode;
}

const ICONS = {
  plain: IconInfoCircle,
  info: IconInfoCircle,
  warning: IconAlertTriangle,
  critical: IconSquareX,
};

export function Notice({ tone = 'plain', fact, reason, next }: Props) {
  const Icon = ICONS[tone];
  return (
    <div className={classes.notice} data-tone={tone} role={tone === 'critical' ? 'alert' : 'status'}>
      <Icon size={20} stroke={1.75} aria-hidden />
      <div className={classes.words}>
        <p className={classes.fact}>{fact}</p>
        {reason && <p className={classes.reason}>{reason}</p>}
        {next && <div className={classes.next}>{next}</div>}
      </div>
    </div>
  );
}

/** A request that failed. */
export function Failure({ error, next }: { error: unknown; next?: ReactNode }) {
  const failed: ApiError = asApiError(error);
  return (
    <Notice
      tone={failed.kind === 'not_ready' ? 'info' : 'critical'}
      fact={failed.fact}
      reason={failed.reason}
      next={next ?? failed.next}
    />
  );
}

/** Over an answer that is older than it should be, since asking again fails. */
export function Stale({ at, error }: { at: number; error: unknown }) {
  const { zone } = useSettings();
  return (
    <Notice
      tone="warning"
      fact={`This is what was known at ${clock(at, zone)}.`}
      reason={asApiError(error).message}
    />
  );
}

/** Boxes of the size of what is to come; only after a moment, so that what is quick does not flicker. */
export function Skeleton({ rows, height = 'var(--row)' }: { rows: number; height?: string }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className={classes.skeleton} aria-busy="true" data-late={late}>
      <span className="unseen">Loading</span>
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: rows that are all alike
        <div key={row} style={{ height }}>
          <i style={{ width: `${38 + ((row * 37) % 50)}%` }} />
        </div>
      ))}
    </div>
  );
}

interface Asked<T> {
  data: T | undefined;
  error: unknown;
  dataUpdatedAt: number;
  isPlaceholderData: boolean;
}

/** The four states of everything that is asked: not yet, failed, out of date, there. */
export function Answered<T>({
  of,
  rows = 8,
  children,
}: {
  of: Asked<T>;
  rows?: number;
  children: (data: T) => ReactNode;
}) {
  if (of.data === undefined) return of.error ? <Failure error={of.error} /> : <Skeleton rows={rows} />;
  return (
    <>
      {of.error ? <Stale at={of.dataUpdatedAt} error={of.error} /> : null}
      <div className={classes.answer} data-old={of.isPlaceholderData || undefined}>
        {children(of.data)}
      </div>
    </>
  );
}
