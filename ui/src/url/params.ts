/** Parameters of a page, as state: read from the address, written to it. */
import { useCallback } from 'react';
import { here, href, navigate, usePlace } from './location';

/** Changes some parameters of the page that is shown; what is empty or undefined goes. */
export function setParams(
  changes: Record<string, string | undefined>,
  how: { replace?: boolean } = {},
): void {
  const { path, params } = here();
  const next = new URLSearchParams(params);
  for (const [name, text] of Object.entries(changes)) {
    if (text === undefined || text === '') next.delete(name);
    else next.set(name, text);
  }
  navigate(href(path, next), how);
}

/** One parameter and its setter. What is typed (`typed`) makes no step for Back. */
export function useParam(name: string, initial = '', typed = false): [string, (text: string) => void] {
  const { params } = usePlace();
  const set = useCallback(
    (text: string) => setParams({ [name]: text === initial ? undefined : text }, { replace: typed }),
    [name, initial, typed],
  );
  return [params.get(name) ?? initial, set];
}

/** A parameter that is one of a few words; another word counts as the first. */
export function useChoice<T extends string>(
  name: string,
  words: readonly [T, ...T[]],
): [T, (word: T) => void] {
  const [text, set] = useParam(name, words[0]);
  const word = words.find(known => known === text) ?? words[0];
  return [word, set];
}
