/** Explore: queries, and what comes of them. */
import { Button } from '@mantine/core';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { IconPlus } from '../../components/icons';
import { Page } from '../../components/page';
import { type Command, useCommands } from '../../keys/keymap';
import { emptyPanel, PANELS_MAX, type Panel, readPanels, writePanels } from '../../url/explore';
import { here, href, navigate, usePlace } from '../../url/location';
import { useParam } from '../../url/params';
import { PanelView } from './panel';
import { TimeBar } from './time-bar';
import { shifted, zoomed } from './window';

/** How often a live page asks anew, in milliseconds. */
const LIVE_EVERY = 15_000;

export default function Explore() {
  const { params } = usePlace();
  const panels = useMemo(() => readPanels(params), [params]);
  const [live, setLive] = useParam('live');
  const [now, setNow] = useState(() => Date.now());
  const refresh = useCallback(() => setNow(Date.now()), []);
  useEffect(() => {
    if (live === '') return;
    const timer = setInterval(() => document.hidden || refresh(), LIVE_EVERY);
    return () => clearInterval(timer);
  }, [live, refresh]);

  const change = useCallback((index: number, changes: Partial<Panel>, how?: { replace?: boolean }) => {
    const next = readPanels(here().params).map((panel, at) =>
      at === index ? { ...panel, ...changes } : panel,
    );
    write(next, how);
  }, []);
  const changeAll = useCallback(
    (changes: Partial<Panel>) => write(readPanels(here().params).map(panel => ({ ...panel, ...changes }))),
    [],
  );
  useTimeCommands(now, changeAll, refresh, live, setLive);

  const first = panels[0] as Panel;
  return (
    <Page
      title={first.expr === '' ? 'Explore' : `${first.expr.slice(0, 60)} · Explore`}
      sentence="Explore"
      actions={
        <TimeBar
          panel={first}
          now={now}
          live={live !== ''}
          onChange={changeAll}
          onNow={refresh}
          onLive={on => setLive(on ? '15s' : '')}
        />
      }
    >
      {panels.map((panel, index) => (
        <PanelView
          // biome-ignore lint/suspicious/noArrayIndexKey: a panel is its number in the address
          key={index}
          panel={panel}
          now={now}
          isFirst={index === 0}
          onChange={(changes, how) => change(index, changes, how)}
          onZoom={(start, end) => changeAll({ range: Math.max(1000, end - start), end })}
          onZoomOut={() => window.history.back()}
          onRefresh={refresh}
          onOpen={expr => write([...panels, { ...panel, expr, tab: 'graph' }])}
          onRemove={panels.length > 1 ? () => write(panels.filter((_, at) => at !== index)) : undefined}
        />
      ))}
      <div>
        <Button
          leftSection={<IconPlus size={16} stroke={1.75} />}
          disabled={panels.length >= PANELS_MAX}
          onClick={() => write([...panels, { ...emptyPanel(), range: first.range, end: first.end }])}
        >
          Another query
        </Button>
      </div>
    </Page>
  );
}

/** Puts panels into the address, beside what else is there. */
function write(panels: readonly Panel[], how?: { replace?: boolean }): void {
  const params = writePanels(panels);
  for (const [name, text] of here().params) if (!/^g\d+\./.test(name)) params.append(name, text);
  navigate(href('/query', params), how);
}

function useTimeCommands(
  now: number,
  change: (changes: Partial<Panel>) => void,
  refresh: () => void,
  live: string,
  setLive: (text: string) => void,
): void {
  const commands = useMemo<Command[]>(() => {
    const panel = () => readPanels(here().params)[0] as Panel;
    const command = (keys: string, title: string, run: () => void): Command => ({
      keys,
      title,
      group: 'This page',
      run,
    });
    return [
      command('[', 'Earlier', () => change(shifted(panel(), now, -1))),
      command(']', 'Later', () => change(shifted(panel(), now, 1))),
      command('-', 'Longer range', () => change(zoomed(panel(), now, 2))),
      command('+', 'Shorter range', () => change(zoomed(panel(), now, 0.5))),
      command('0', 'Now', () => {
        change({ end: undefined });
        refresh();
      }),
      command('l', live === '' ? 'Follow live' : 'Stop following', () => setLive(live === '' ? '15s' : '')),
    ];
  }, [now, change, refresh, live, setLive]);
  useCommands(commands);
}
