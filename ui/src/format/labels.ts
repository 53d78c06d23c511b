/** Label sets as PromQL writes them. */

export type Labels = Record<string, string>;

const PLAIN = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** A string as PromQL quotes it. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** A label's name, in quotes where it is not of plain letters. */
export function labelName(name: string): string {
  return PLAIN.test(name) && !name.includes(':') ? name : quoted(name);
}

/** `http_requests_total{code="200", job="api"}`; names that need quotes stand inside the braces. */
export function series(labels: Labels, without: ReadonlySet<string> = new Set()): string {
  const name = labels.__name__ ?? '';
  const pairs = Object.entries(labels)
    .filter(([key]) => key !== '__name__' && !without.has(key))
    .map(([key, text]) => `${labelName(key)}=${quoted(text)}`);
  const shown = without.has('__name__') ? '' : name;
  if (shown !== '' && !PLAIN.test(shown)) pairs.unshift(quoted(shown));
  const head = PLAIN.test(shown) ? shown : '';
  return pairs.length === 0 && head !== '' ? head : `${head}{${pairs.join(', ')}}`;
}

/** What all sets have alike; of one set nothing, since all of it tells it apart. */
export function sharedLabels(all: readonly Labels[]): Labels {
  const [first, ...rest] = all;
  if (!first || rest.length === 0) return {};
  return Object.fromEntries(
    Object.entries(first).filter(([key, text]) => rest.every(labels => labels[key] === text)),
  );
}

/** A stable key of a set. */
export function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** One of `name="value"`, `name!=…`, `name=~…`, `name!~…`. */
export interface Matcher {
  name: string;
  op: '=' | '!=' | '=~' | '!~';
  value: string;
}

/** Reads `a="b", c!~"d.*"`, with or without braces and quotes; nothing where it is not that. */
export function parseMatchers(text: string): Matcher[] | undefined {
  const inner = text.trim().replace(/^\{|\}$/g, '');
  const matchers: Matcher[] = [];
  const one = /\s*("(?:[^"\\]|\\.)*"|[^\s=!~,"{}]+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s,"{}]*)\s*(,|$)/y;
  while (one.lastIndex < inner.length) {
    const match = one.exec(inner);
    if (!match) return undefined;
    matchers.push({
      name: unquoted(match[1] ?? ''),
      op: match[2] as Matcher['op'],
      value: unquoted(match[3] ?? ''),
    });
  }
  return matchers;
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  try {
    return JSON.parse(text) as string;
  } catch {
    return text.slice(1, -1);
  }
}

export function writeMatchers(matchers: readonly Matcher[]): string {
  return matchers.map(({ name, op, value }) => `${labelName(name)}${op}${quoted(value)}`).join(', ');
}

/** Whether a set is matched by all. An expression that is none matches nothing. */
export function matches(labels: Labels, matchers: readonly Matcher[]): boolean {
  return matchers.every(({ name, op, value }) => {
    const has = labels[name] ?? '';
    if (op === '=') return has === value;
    if (op === '!=') return has !== value;
    try {
      return new RegExp(`^(?:${value})$`, 's').test(has) === (op === '=~');
    } catch {
      return false;
    }
  });
}
