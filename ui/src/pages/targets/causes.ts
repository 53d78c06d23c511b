/** Why targets are down: errors that say the same are one cause, with a hint of what to do. */
import type { Target } from '../../api/types';

export interface Cause {
  text: string;
  hint: string;
  count: number;
  /** Pools that have it, the most concerned first. */
  pools: string[];
}

/** The kinds of errors that are known, by what they hold, with plain words. */
const KNOWN: [RegExp, string, string][] = [
  [
    /connection refused/i,
    'connection refused',
    'The machine answers, but nothing listens on that port. Is the process running, and the port right?',
  ],
  [
    /no route to host|network is unreachable/i,
    'no route',
    'The network does not lead there. Is the machine up, and in this network?',
  ],
  [
    /no such host|dns|name or service not known|failed to lookup/i,
    'name unknown',
    'The name leads to no address. Is it spelt right, and does this machine ask the right name servers?',
  ],
  [
    /timed? ?out|deadline exceeded/i,
    'no answer in time',
    'The target is slow, or a firewall drops what is sent. Raise scrape_timeout, or look at the target.',
  ],
  [
    /certificate|x509|tls|handshake/i,
    'TLS failed',
    'Name, issuer or age of the certificate is not what is expected. Look at tls_config of the job.',
  ],
  [
    /\b401\b|unauthori[sz]ed/i,
    'not signed in (401)',
    'The target wants credentials: basic_auth or authorization of the job.',
  ],
  [/\b403\b|forbidden/i, 'not allowed (403)', 'The credentials are known, but may not read metrics.'],
  [/\b404\b|not found/i, 'no such path (404)', 'The target answers, but not there. Look at metrics_path.'],
  [/\b5\d\d\b/, 'the target failed (5xx)', 'The target answers with an error of its own: its log says more.'],
  [
    /limit/i,
    'over a limit',
    'The scrape brings more than the job allows: sample_limit, label_limit or body_size_limit.',
  ],
  [
    /parse|invalid|unexpected|expected|duplicate|line \d+/i,
    'cannot be read',
    'What the target says is not in a format that is known. The error names the line.',
  ],
];

/** An error in plain words. */
export function causeOf(error: string): { text: string; hint: string } {
  for (const [has, text, hint] of KNOWN) if (has.test(error)) return { text, hint };
  return { text: error.slice(0, 80), hint: '' };
}

export function causesOf(targets: readonly Target[]): Cause[] {
  const causes = new Map<string, Cause & { byPool: Map<string, number> }>();
  for (const target of targets) {
    if (target.health !== 'down') continue;
    const { text, hint } = causeOf(target.lastError);
    const cause = causes.get(text) ?? { text, hint, count: 0, pools: [], byPool: new Map() };
    cause.count += 1;
    cause.byPool.set(target.scrapePool, (cause.byPool.get(target.scrapePool) ?? 0) + 1);
    causes.set(text, cause);
  }
  return [...causes.values()]
    .sort((a, b) => b.count - a.count)
    .map(({ byPool, ...cause }) => ({
      ...cause,
      pools: [...byPool].sort((a, b) => b[1] - a[1]).map(([pool]) => pool),
    }));
}
