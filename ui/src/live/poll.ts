/** Asking again and again, gently: slower while the server is away, not at all while nobody looks. */
import { keepPreviousData, QueryClient, type UseQueryResult, useQuery } from '@tanstack/react-query';
import { useRef } from 'react';
import { ApiError } from '../api/client';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // Repeating is the interval's, so that a page says at once what went wrong.
      retry: false,
      staleTime: 2000,
      refetchOnWindowFocus: true,
      // A machine without a network may well hold the server.
      networkMode: 'always',
    },
  },
});

/** Longest time between two looks at a server that is away, in milliseconds. */
const LONGEST = 30_000;

/** How long to wait before asking again after so many failures in a row: 1, 2, 4 … 30 s. */
export function backoff(failures: number): number {
  return Math.min(LONGEST, 1000 * 2 ** Math.min(failures - 1, 10));
}

export interface PollOptions<T> {
  key: readonly unknown[];
  ask: (signal: AbortSignal) => Promise<T>;
  /** Milliseconds between two answers; nothing for once. May follow from the last answer. */
  every?: number | ((last: T | undefined) => number) | undefined;
  enabled?: boolean;
}

/** What the server says, kept up to date; the last answer stays while the next is on its way or fails. */
export function usePoll<T>({ key, ask, every, enabled = true }: PollOptions<T>): UseQueryResult<T, ApiError> {
  const failures = useRef(0);
  return useQuery<T, ApiError>({
    queryKey: key,
    queryFn: async ({ signal }) => {
      try {
        const answer = await ask(signal);
        failures.current = 0;
        return answer;
      } catch (error) {
        if (!signal.aborted) failures.current += 1;
        throw error;
      }
    },
    enabled,
    placeholderData: keepPreviousData,
    refetchInterval: query => {
      const { error, data } = query.state;
      // What will be the same answer next time is not asked for faster.
      const passing = error instanceof ApiError && (error.kind === 'offline' || error.kind === 'not_ready');
      if (passing) return backoff(failures.current);
      return typeof every === 'function' ? every(data) : (every ?? false);
    },
  });
}
