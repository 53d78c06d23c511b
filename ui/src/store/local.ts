/** What this browser remembers: settings and history. The server keeps nothing about people. */
import { useSyncExternalStore } from 'react';
import type { Zone } from '../format/time';

export interface Settings {
  theme: 'auto' | 'light' | 'dark';
  density: 'dense' | 'comfortable';
  zone: Zone;
  railFolded: boolean;
  /** Who silences: kept from the last one. */
  author: string;
  /** Letters alone as shortcuts (WCAG 2.1.4). */
  singleKeys: boolean;
}

const DEFAULTS: Settings = {
  theme: 'auto',
  density: 'dense',
  zone: 'local',
  railFolded: false,
  author: '',
  singleKeys: true,
};

/** Queries that are remembered. */
export const HISTORY_MAX = 200;

const PREFIX = 'narthex.';
const listeners = new Set<() => void>();
const cache = new Map<string, unknown>();

function load<T>(name: string, fallback: T): T {
  if (cache.has(name)) return cache.get(name) as T;
  let value = fallback;
  try {
    const text = window.localStorage.getItem(PREFIX + name);
    if (text !== null) value = JSON.parse(text) as T;
  } catch {
    // Switched off, or written by somebody else: as if nothing were remembered.
  }
  cache.set(name, value);
  return value;
}

function save(name: string, value: unknown): void {
  cache.set(name, value);
  try {
    window.localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full or switched off: it is remembered as long as the page is open.
  }
  for (const listener of listeners) listener();
}

// Another tab changed something.
if (typeof window !== 'undefined') {
  window.addEventListener('storage', event => {
    if (event.key?.startsWith(PREFIX)) {
      cache.delete(event.key.slice(PREFIX.length));
      for (const listener of listeners) listener();
    }
  });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let merged: Settings = DEFAULTS;
let mergedFrom: unknown;

export function settings(): Settings {
  const stored = load<Partial<Settings>>('settings', {});
  if (stored !== mergedFrom) {
    mergedFrom = stored;
    merged = { ...DEFAULTS, ...(typeof stored === 'object' ? stored : {}) };
  }
  return merged;
}

export function set(changes: Partial<Settings>): void {
  save('settings', { ...settings(), ...changes });
}

export function useSettings(): Settings {
  return useSyncExternalStore(subscribe, settings);
}

const NONE: string[] = [];

/** Queries that were run, the newest first. */
export function useHistory(): string[] {
  return useSyncExternalStore(subscribe, history);
}

export function history(): string[] {
  const stored = load<unknown>('history', NONE);
  return Array.isArray(stored) ? (stored as string[]) : NONE;
}

export function remember(query: string): void {
  const text = query.trim();
  if (text === '') return;
  save('history', [text, ...history().filter(other => other !== text)].slice(0, HISTORY_MAX));
}
