/** The keyboard: commands say which keys they have, one listener hears them, and a list of them is the help. */
import { useEffect, useSyncExternalStore } from 'react';
import { settings } from '../store/local';

export interface Command {
  /** `g e`: one after the other; `mod+k`: Ctrl, or ⌘ on a Mac; empty for none: the palette alone. */
  keys: string;
  title: string;
  /** Heading in the help: of the whole server, or of the page that is shown. */
  group: 'Go to' | 'Everywhere' | 'This page';
  run: () => void;
}

let commands: Command[] = [];
const sets = new Set<readonly Command[]>();
const listeners = new Set<() => void>();

function change(): void {
  commands = [...sets].flat();
  for (const listener of listeners) listener();
}

/** Offers commands as long as a component is shown. Their list must not change with every drawing. */
export function useCommands(list: readonly Command[]): void {
  useEffect(() => {
    sets.add(list);
    change();
    return () => {
      sets.delete(list);
      change();
    };
  }, [list]);
}

/** All commands that are there. */
export function useAllCommands(): Command[] {
  return useSyncExternalStore(
    listener => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => commands,
  );
}

export const IS_MAC = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.platform);

/** Keys as they are shown: `Ctrl K`, `g e`. */
export function shownKeys(keys: string): string[] {
  return keys.split(' ').map(key =>
    key
      .replace('mod+', IS_MAC ? '⌘ ' : 'Ctrl ')
      .replace('Escape', 'Esc')
      .replace(/\bk$/, key === 'mod+k' ? 'K' : 'k'),
  );
}

/** What was pressed, in the words of `Command.keys`. */
export function pressed(event: KeyboardEvent): string {
  const mod = event.ctrlKey || event.metaKey;
  if (event.altKey) return '';
  return (mod ? 'mod+' : '') + (event.key.length === 1 && mod ? event.key.toLowerCase() : event.key);
}

/** Whether keys are somebody's text. */
function types(event: KeyboardEvent): boolean {
  // The editor lies in a shadow: from outside its host would be the target.
  const target = event.composedPath()[0];
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target.closest('input, textarea, select, [role="textbox"], [contenteditable="true"]') !== null)
  );
}

/** How long the first key of two is remembered, in milliseconds. */
const SEQUENCE = 1200;
let before = '';
let beforeAt = 0;

/** Finds the command of what was pressed; `before` is the key before it, where it may begin a sequence. */
export function commandOf(
  list: readonly Command[],
  before: string,
  key: string,
): Command | 'begin' | undefined {
  // What came last, a page or a dialog, comes first.
  const found = [...list]
    .reverse()
    .find(command => command.keys === (before === '' ? key : `${before} ${key}`));
  if (found) return found;
  return before === '' && list.some(command => command.keys.startsWith(`${key} `)) ? 'begin' : undefined;
}

function hear(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  const key = pressed(event);
  if (key === '' || key === 'Shift') return;
  const isPlain = !key.startsWith('mod+');
  if (isPlain && (types(event) || document.querySelector('dialog[open]'))) return;
  if (isPlain && key.length === 1 && !settings().singleKeys) return;
  const first = performance.now() - beforeAt < SEQUENCE ? before : '';
  before = '';
  const found = commandOf(commands, first, key);
  if (found === 'begin') {
    [before, beforeAt] = [key, performance.now()];
  } else if (found) {
    event.preventDefault();
    found.run();
  }
}

/** Listens; once, at the start. */
export function listen(): void {
  window.addEventListener('keydown', hear);
}
