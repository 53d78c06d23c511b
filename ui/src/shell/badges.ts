/** Numbers in the rail: what needs somebody. Small questions, not the lists themselves. */
import { ifInside, suppressedCount } from '../api/alertmanager';
import { queryNumber } from '../api/prometheus';
import { usePoll } from '../live/poll';

export type Badges = Partial<Record<string, { count: number; what: string; critical: boolean }>>;

const EVERY = 15_000;

export function useBadges(): Badges {
  const firing = useCount('count(ALERTS{alertstate="firing"})');
  const suppressed = usePoll({
    key: ['badge', 'suppressed'],
    ask: async signal => (await ifInside(() => suppressedCount(signal))) ?? 0,
    every: EVERY,
  });
  const critical = useCount('count(ALERTS{alertstate="firing", severity=~"critical|page"})');
  const down = useCount('count(up == 0)');
  return {
    '/alerts': {
      count: Math.max(0, firing - (suppressed.data ?? 0)),
      what: 'alerts firing',
      critical: critical > 0,
    },
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
