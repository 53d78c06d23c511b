/** Where the reader is: the address is the state, and every change of it goes through here. */
import { useSyncExternalStore } from 'react';
import { canonical } from './old';

/** An address behind whatever path the server has in front: `/alerts`, with parameters. */
export interface Place {
  path: string;
  params: URLSearchParams;
}

/** Path in front of all pages, with a slash at its end; the server says it in the document. */
export const BASE = typeof document === 'undefined' ? '/' : new URL('.', document.baseURI).pathname;

let current: Place = { path: '/', params: new URLSearchParams() };
let key = '';
const listeners = new Set<() => void>();

function read(): Place {
  const { pathname, search } = window.location;
  const path = pathname.startsWith(BASE) ? `/${pathname.slice(BASE.length)}` : pathname;
  return { path: path.replace(/(.)\/$/, '$1'), params: new URLSearchParams(search) };
}

/** The place now. The same object as long as nothing changed. */
export function here(): Place {
  const now = window.location.pathname + window.location.search;
  if (now !== key) {
    key = now;
    current = read();
  }
  return current;
}

/** The address of a place, for links. */
export function href(path: string, params?: URLSearchParams | Record<string, string | undefined>): string {
  const search = params instanceof URLSearchParams ? params : toParams(params ?? {});
  // Colons and slashes are no danger behind the question mark, and easier to read.
  const text = search.toString().replace(/%3A/g, ':').replace(/%2F/g, '/');
  return BASE + path.replace(/^\//, '') + (text === '' ? '' : `?${text}`);
}

function toParams(values: Record<string, string | undefined>): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, text] of Object.entries(values))
    if (text !== undefined && text !== '') params.set(name, text);
  return params;
}

/** Goes to an address. `replace` where Back shall not lead here: while typing. */
export function navigate(to: string, how: { replace?: boolean } = {}): void {
  const state = { scroll: 0 };
  if (how.replace) window.history.replaceState(window.history.state, '', to);
  else window.history.pushState(state, '', to);
  tell();
}

function tell(): void {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

/** The place, as a component sees it. */
export function usePlace(): Place {
  return useSyncExternalStore(subscribe, here);
}

/** Leads addresses of old to those of today, once at the start: a fragment never reaches a server. */
export function arrive(): void {
  const to = canonical(read(), window.location.hash);
  if (to) navigate(href(to.path, to.params), { replace: true });
}
