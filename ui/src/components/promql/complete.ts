/** What an editor of queries offers: asked of the server a hundred at a time, never all names of it. */
import type { Completion, CompletionSource } from '@codemirror/autocomplete';
import type { PrometheusClient } from '@prometheus-io/codemirror-promql/dist/esm/client';
import { HybridComplete } from '@prometheus-io/codemirror-promql/dist/esm/complete/hybrid';
import { EqlRegex, Neq, NeqRegex } from '@prometheus-io/lezer-promql';
import { labelNames, labelValues, metadata, searchMetrics, selector } from '../../api/prometheus';
import type { Matcher } from '../../format/labels';
import { history } from '../../store/local';

/** Names or values of one answer. */
export const OFFERED_MAX = 100;

/** Matchers of the editor's library. */
type TheirMatcher = NonNullable<Parameters<PrometheusClient['labelValues']>[2]>[number];

/** Asks our API in the library's words, and remembers whether the last answer was all there is. */
class Bounded implements PrometheusClient {
  cut = false;
  private running = new AbortController();

  /** What was asked before is of no use once more is typed. */
  private next(): AbortSignal {
    this.running.abort();
    this.running = new AbortController();
    return this.running.signal;
  }

  private async bounded(ask: (signal: AbortSignal) => Promise<string[]>): Promise<string[]> {
    try {
      const found = await ask(this.next());
      this.cut = found.length >= OFFERED_MAX;
      return found;
    } catch {
      // A server that is away is said elsewhere; words of the language are offered all the same.
      this.cut = true;
      return [];
    }
  }

  metricNames(prefix = ''): Promise<string[]> {
    return this.bounded(signal => searchMetrics(prefix, OFFERED_MAX, signal));
  }
  labelNames(metric?: string): Promise<string[]> {
    return this.bounded(async signal =>
      (await labelNames(selector(metric, []), OFFERED_MAX, signal)).filter(name => name !== '__name__'),
    );
  }
  labelValues(name: string, metric?: string, matchers: TheirMatcher[] = []): Promise<string[]> {
    // Only what exists beside the other matchers.
    const others = matchers.filter(matcher => matcher.name !== name && matcher.value !== '').map(ours);
    return this.bounded(signal => labelValues(name, selector(metric, others), OFFERED_MAX, signal));
  }
  // Told for each name when somebody looks at it.
  metricMetadata = () => Promise.resolve({});
  series = () => Promise.resolve([]);
  flags = () => Promise.resolve({});
  destroy(): void {
    this.running.abort();
  }
}

/** The library says operators by their numbers in its grammar. */
const OPS = new Map<number, Matcher['op']>([
  [Neq, '!='],
  [EqlRegex, '=~'],
  [NeqRegex, '!~'],
]);

function ours({ name, type, value }: TheirMatcher): Matcher {
  return { name, op: OPS.get(type) ?? '=', value };
}

/** Functions whose argument is a counter. */
const OF_COUNTERS = /\b(rate|irate|increase|resets)\s*\(\s*[\w:]*$/;
const COUNTER = /_(total|count|sum|bucket)$/;

/** A source of completions for one editor. */
export function completion(): CompletionSource {
  const client = new Bounded();
  const theirs = new HybridComplete(client);
  return async context => {
    const found = await theirs.promQL(context);
    if (!found) return null;
    const before = context.state.sliceDoc(Math.max(0, context.pos - 200), context.pos);
    const counters = OF_COUNTERS.test(before);
    const used = history().join('\n');
    const options = found.options.map(option => rank(option, counters, used));
    const { validFor, ...rest } = found;
    // Where there is more than was offered, the next letter asks anew.
    return client.cut || !validFor ? { ...rest, options } : { ...rest, options, validFor };
  };
}

/** Names first that fit and were used; what a name means is asked when it is looked at. */
export function rank(option: Completion, counters: boolean, used: string): Completion {
  if (option.type !== 'constant') return option;
  const boost =
    (counters && COUNTER.test(option.label) ? 20 : 0) + (used.includes(option.label) ? 10 : 0) + 1;
  return { ...option, boost, info: tell };
}

async function tell(option: Completion): Promise<Node | null> {
  const about = await metadata(option.label).catch(() => undefined);
  const base =
    about ?? (await metadata(option.label.replace(/_(count|sum|bucket|total)$/, '')).catch(() => undefined));
  if (!base) return null;
  const box = document.createElement('div');
  const head = box.appendChild(document.createElement('b'));
  head.textContent = base.unit ? `${base.type}, ${base.unit}` : base.type;
  box.appendChild(document.createElement('div')).textContent = base.help;
  return box;
}
