/** Errors at their place while a query is written: the server's own, since it decides what is one. */
import type { Diagnostic } from '@codemirror/lint';
import { ApiError } from '../../api/client';
import { parseQuery } from '../../api/prometheus';

/** `1:3: parse error: unexpected …`, wherever in the words of the server. */
const PLACE = /(\d+):(\d+): (?:parse error: )?(.*)$/s;

/** Where an error is: the word that begins at its line and column (in bytes), or the last one. */
export function place(text: string, reason: string): { from: number; to: number; message: string } {
  const match = PLACE.exec(reason);
  if (!match) return { from: 0, to: text.length, message: reason };
  const lines = text.split('\n');
  const line = Math.min(Number(match[1]) - 1, lines.length - 1);
  const start = lines.slice(0, line).reduce((sum, before) => sum + before.length + 1, 0);
  const from = Math.min(start + inUnits(lines[line] ?? '', Number(match[2]) - 1), text.length);
  const word = /^[\w:.]+|^\S/.exec(text.slice(from))?.[0] ?? '';
  // At the end there is nothing to mark but what stands before it.
  if (word === '')
    return { from: Math.max(0, text.trimEnd().length - 1), to: text.length, message: match[3] ?? '' };
  return { from, to: from + word.length, message: match[3] ?? '' };
}

/** Columns count bytes of UTF-8, the editor counts units of UTF-16. */
function inUnits(line: string, bytes: number): number {
  let seen = 0;
  let units = 0;
  for (const letter of line) {
    if (seen >= bytes) break;
    seen += new TextEncoder().encode(letter).length;
    units += letter.length;
  }
  return units;
}

export async function findErrors(text: string, signal?: AbortSignal): Promise<Diagnostic[]> {
  if (text.trim() === '') return [];
  try {
    await parseQuery(text, signal);
    return [];
  } catch (error) {
    // A server that is away is said elsewhere.
    if (!(error instanceof ApiError) || error.kind !== 'bad_data') return [];
    return [{ ...place(text, error.reason), severity: 'error' }];
  }
}
