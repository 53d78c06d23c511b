/** Numbers in the rail: what needs somebody. Two small queries, not the lists themselves. */
import { queryNumber } from '../api/prometheus';
import { usePoll } from '../live/poll';

export type Badges = Partial<Record<string, { count: number; what: string; critical: boolean }>>;

const EVERY = 15_000;

export function useBadges(): Badges {
  const firing = useCount('count(ALERTS{alertstate="firing"})');
  const critical = useCount('count(ALERTS{alertstate="firing", severity=~"critical|page"})');
  const down = useCount('count(up == 0)');
  return {
    '/alerts': { count: firing, what: 'alerts firing', critical: critical > 0 },
    '/targets': { count: down, what: 'targets down', critical: true },
  };
}

function useCount(query: string): number {
  const { data } = usePoll({
    key: ['badge', query],
    ask: async signal => (await queryNumber(query, signal)) ?? 0,
    every: EVERY,
  });
  return data ?? 0;
}
