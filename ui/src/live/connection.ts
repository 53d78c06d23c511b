/** Whether the server answers, and since when it does not: one heartbeat, told by every request. */
import { useSyncExternalStore } from 'react';
import { onAnswer, probe } from '../api/client';
import { walReplay } from '../api/prometheus';
import { usePoll } from './poll';

/** What is known of the server. Times in milliseconds. */
export type Connection =
  | { state: 'live' }
  /** It does not answer. */
  | { state: 'lost'; since: number }
  /** It reads its log; how far it has come, 0 to 1, where it says so. */
  | { state: 'starting'; done: number | undefined }
  | { state: 'stopping' };

let current: Connection = { state: 'live' };
const listeners = new Set<() => void>();

export function setConnection(next: Connection): void {
  if (JSON.stringify(next) === JSON.stringify(current)) return;
  current = next;
  for (const listener of listeners) listener();
}

export function connection(): Connection {
  return current;
}

onAnswer(answered => {
  if (!answered && current.state !== 'lost') setConnection({ state: 'lost', since: Date.now() });
  else if (answered && current.state === 'lost') setConnection({ state: 'live' });
});

export function useConnection(): Connection {
  return useSyncExternalStore(listener => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, connection);
}

/** Time between two looks at a healthy server. */
const CALM = 10_000;
async function beat(signal: AbortSignal): Promise<Connection> {
  const response = await probe('-/ready', signal);
  if (response.ok) return { state: 'live' };
  if (response.headers.get('x-prometheus-stopping') === 'true') return { state: 'stopping' };
  const replay = await walReplay(signal).catch(() => undefined);
  const all = replay ? replay.max - replay.min + 1 : 0;
  return { state: 'starting', done: replay && all > 0 ? (replay.current - replay.min) / all : undefined };
}

/** Keeps looking; once, in the shell. */
export function useHeartbeat(): void {
  usePoll({
    key: ['heartbeat'],
    ask: async signal => {
      const found = await beat(signal);
      setConnection(found);
      return found.state;
    },
    every: state => (state === 'live' ? CALM : 1000),
  });
}
