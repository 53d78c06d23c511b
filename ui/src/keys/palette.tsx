/** The command palette: pages, verbs, metrics, rules and targets by a few letters of their names. */
import { useQuery } from '@tanstack/react-query';
import { type KeyboardEvent, type ReactNode, useId, useMemo, useState } from 'react';
import { rules, scrapePools, searchMetrics } from '../api/prometheus';
import { useDebounced } from '../components/debounced';
import { Dialog } from '../components/dialog';
import { IconSearch } from '../components/icons';
import { href, navigate } from '../url/location';
import { Keys } from './help';
import { useAllCommands } from './keymap';
import classes from './keys.module.css';

interface Entry {
  id: string;
  kind: string;
  title: string;
  keys?: string;
  run: () => void;
}

/** Entries of a kind that are shown, and of all. */
const OF_A_KIND = 8;

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState('');
  const [cursor, setCursor] = useState(0);
  const list = useId();
  const entries = useEntries(text.trim());
  const at = Math.min(cursor, Math.max(0, entries.length - 1));
  const choose = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.run();
  };
  const byKey = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) setCursor((at + by + entries.length) % Math.max(1, entries.length));
    else if (event.key === 'Enter') choose(entries[at]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Find anything" onClose={onClose} bare>
      <div className={classes.ask}>
        <IconSearch size={20} stroke={1.75} aria-hidden />
        <input
          autoFocus
          role="combobox"
          aria-expanded
          aria-controls={list}
          aria-activedescendant={entries[at] ? `${list}-${at}` : undefined}
          aria-label="Find a page, metric, rule, target or command"
          placeholder="Page, metric, rule, target, command"
          value={text}
          onChange={event => {
            setText(event.currentTarget.value);
            setCursor(0);
          }}
          onKeyDown={byKey}
          spellCheck={false}
          autoComplete="off"
        />
      </div>
      <div id={list} role="listbox" aria-label="Found" className={classes.found}>
        {entries.map((entry, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the box above hears the keys
          // biome-ignore lint/a11y/useFocusableInteractive: the box above has the focus
          <div
            key={entry.id}
            id={`${list}-${index}`}
            role="option"
            aria-selected={index === at}
            className={classes.option}
            ref={index === at ? shown : undefined}
            onClick={() => choose(entry)}
            onMouseMove={() => index !== at && setCursor(index)}
          >
            <span className={classes.kind}>{entry.kind}</span>
            <span className={classes.title}>{marked(entry.title, text.trim())}</span>
            {entry.keys && <Keys keys={entry.keys} />}
          </div>
        ))}
      </div>
      {entries.length === 0 && (
        <p className={classes.nothing}>Nothing is called “{text}”. Names are found by any part of them.</p>
      )}
    </Dialog>
  );
}

function shown(element: HTMLElement | null): void {
  element?.scrollIntoView({ block: 'nearest' });
}

function useEntries(text: string): Entry[] {
  const commands = useAllCommands();
  const late = useDebounced(text, 60);
  const asks = late.length >= 2;
  const metrics = useQuery({
    queryKey: ['palette', 'metrics', late],
    queryFn: ({ signal }) => searchMetrics(late, OF_A_KIND, signal),
    enabled: asks,
  });
  const groups = useQuery({
    queryKey: ['rules'],
    queryFn: ({ signal }) => rules(signal),
    enabled: asks,
    staleTime: 30_000,
  });
  const pools = useQuery({
    queryKey: ['scrapePools'],
    queryFn: ({ signal }) => scrapePools(signal),
    enabled: asks,
    staleTime: 30_000,
  });
  return useMemo(() => {
    const own: Entry[] = commands
      .filter(command => has(command.title, text))
      .map(command => ({
        id: `c${command.title}`,
        kind: command.group === 'Go to' ? 'page' : 'do',
        title: command.title,
        keys: command.keys,
        run: command.run,
      }));
    if (text.length < 2) return own;
    const found = (metrics.data ?? []).map(name => ({
      id: `m${name}`,
      kind: 'metric',
      title: name,
      run: () => navigate(href('/query', { 'g0.expr': name, 'g0.tab': 'graph' })),
    }));
    const names = [
      ...new Set((groups.data ?? []).flatMap(group => group.rules.map(rule => rule.name))),
    ].filter(name => has(name, text));
    const ruled = names.slice(0, OF_A_KIND).map(name => ({
      id: `r${name}`,
      kind: 'rule',
      title: name,
      run: () => navigate(href('/rules', { search: name })),
    }));
    const jobs = (pools.data ?? []).filter(pool => has(pool, text)).slice(0, OF_A_KIND);
    const targets = jobs.map(pool => ({
      id: `t${pool}`,
      kind: 'targets',
      title: pool,
      run: () => navigate(href('/targets', { pool })),
    }));
    return [...own.slice(0, OF_A_KIND), ...found, ...ruled, ...targets];
  }, [commands, text, metrics.data, groups.data, pools.data]);
}

function has(title: string, text: string): boolean {
  return title.toLowerCase().includes(text.toLowerCase());
}

/** The part that was typed, marked. */
function marked(title: string, text: string): ReactNode {
  const at = text === '' ? -1 : title.toLowerCase().indexOf(text.toLowerCase());
  if (at < 0) return title;
  return (
    <>
      {title.slice(0, at)}
      <b>{title.slice(at, at + text.length)}</b>
      {title.slice(at + text.length)}
    </>
  );
}
