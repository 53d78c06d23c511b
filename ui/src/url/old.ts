/** Addresses of old, the reference's and Alertmanager's, and where they lead. */
import type { Place } from './location';

/** The place that an address means today; nothing where it is one of today's. */
export function canonical(place: Place, hash = ''): Place | undefined {
  const fragment = ofFragment(hash);
  if (fragment) return fragment;
  const params = new URLSearchParams(place.params);
  switch (place.path) {
    case '/':
      return { path: '/query', params };
    case '/graph':
      return { path: '/query', params: ofGraph(params) };
    case '/flags':
    case '/config':
      params.set('tab', place.path.slice(1));
      return { path: '/status', params };
    case '/tsdb-status':
      return { path: '/storage', params };
    case '/alertmanager-discovery':
      return { path: '/notifications/destinations', params };
    case '/targets':
    case '/service-discovery':
      return renamed(place, 'scrapePool', 'pool');
    case '/notifications':
      return { path: '/notifications/silences', params };
    case '/query':
      // The old page's parameters come behind the new path when the server leads there.
      return hasOldTab(params) ? { path: '/query', params: ofGraph(params) } : undefined;
    default:
      return ofMetric(place.path);
  }
}

/** A metric's own page is a graph of it, as long as there is no other. */
function ofMetric(path: string): Place | undefined {
  const name = /^\/metrics-explorer\/(.+)$/.exec(path)?.[1];
  if (name === undefined) return undefined;
  const params = new URLSearchParams({ 'g0.expr': decodeURIComponent(name), 'g0.tab': 'graph' });
  return { path: '/query', params };
}

/** Alertmanager's pages: `#/alerts?filter=…`, `#/silences/…`, `#/status`. */
function ofFragment(hash: string): Place | undefined {
  const match = /^#\/(alerts|silences|status)(\/[^?]*)?(?:\?(.*))?$/.exec(hash);
  if (!match) return undefined;
  const params = new URLSearchParams(match[3] ?? '');
  switch (match[1]) {
    case 'alerts':
      return { path: '/alerts', params };
    case 'silences':
      return { path: `/notifications/silences${match[2] ?? ''}`, params };
    default:
      return { path: '/status', params };
  }
}

function hasOldTab(params: URLSearchParams): boolean {
  return [...params].some(
    ([name, text]) =>
      /^g\d+\.(tab|stacked|step_input)$/.test(name) && !(name.endsWith('tab') && /[a-z]/.test(text)),
  );
}

/** `g0.tab=0` was the graph and 1 the table; `stacked=1` is a mode of display now, `step_input` a resolution. */
function ofGraph(params: URLSearchParams): URLSearchParams {
  const to = new URLSearchParams();
  for (const [name, text] of params) {
    const [panel, field] = splitPanel(name);
    if (field === 'tab') to.set(name, { 0: 'graph', 1: 'table' }[text] ?? text);
    else if (field === 'stacked') {
      if (text === '1' || text === 'true') to.set(`${panel}.display_mode`, 'stacked');
    } else if (field === 'step_input') {
      to.set(`${panel}.res_type`, 'fixed');
      to.set(`${panel}.res_step`, text);
    } else to.append(name, text);
  }
  return to;
}

function splitPanel(name: string): [string, string] {
  const match = /^(g\d+)\.(.+)$/.exec(name);
  return [match?.[1] ?? '', match?.[2] ?? name];
}

function renamed(place: Place, from: string, into: string): Place | undefined {
  const value = place.params.get(from);
  if (value === null) return undefined;
  const params = new URLSearchParams(place.params);
  params.delete(from);
  params.set(into, value);
  return { path: place.path, params };
}
