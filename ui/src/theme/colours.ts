/** Colours of tokens for what is drawn on canvas, which knows no variables. */
import { useSyncExternalStore } from 'react';
import { useSettings } from '../store/local';

export type Scheme = 'light' | 'dark';

const dark =
  typeof window === 'undefined' || !window.matchMedia
    ? undefined
    : window.matchMedia('(prefers-color-scheme: dark)');

/** The theme that is shown: the chosen one, or the system's. */
export function useScheme(): Scheme {
  const { theme } = useSettings();
  const system = useSyncExternalStore(
    listener => {
      dark?.addEventListener('change', listener);
      return () => dark?.removeEventListener('change', listener);
    },
    () => (dark?.matches ? 'dark' : 'light'),
  );
  return theme === 'auto' ? system : theme;
}

/** The colour of a token in a theme, as canvas takes it. */
export function colour(token: string, scheme: Scheme): string {
  const text = getComputedStyle(document.documentElement).getPropertyValue(`--${token}`);
  const match = /light-dark\(\s*([^,]+?)\s*,\s*(.+?)\s*\)\s*$/.exec(text);
  return (scheme === 'light' ? match?.[1] : match?.[2]) ?? text.trim();
}

/** Lines that have a colour of their own; the next as many have it dashed. */
export const SERIES_COLOURS = 12;

/** How the line of a series is drawn that is the `rank`th of the legend. */
export function strokeOf(rank: number): { token: string; dash: number[]; alpha: number } {
  if (rank < SERIES_COLOURS) return { token: `series-${rank + 1}`, dash: [], alpha: 1 };
  if (rank < 2 * SERIES_COLOURS)
    return { token: `series-${rank - SERIES_COLOURS + 1}`, dash: [6, 4], alpha: 1 };
  return { token: 'ink3', dash: [], alpha: 0.45 };
}
