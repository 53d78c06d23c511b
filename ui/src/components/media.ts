/** Whether the page is as narrow as a phone. */
import { useSyncExternalStore } from 'react';

const narrow =
  typeof window === 'undefined' || !window.matchMedia ? undefined : window.matchMedia('(max-width: 640px)');

export function usePhone(): boolean {
  return useSyncExternalStore(
    listener => {
      narrow?.addEventListener('change', listener);
      return () => narrow?.removeEventListener('change', listener);
    },
    () => narrow?.matches ?? false,
  );
}
