/** The frame around all pages: rail, top, and what is said when the server does not answer. */
import { ActionIcon } from '@mantine/core';
import { type ReactNode, Suspense, useMemo, useState } from 'react';
import {
  IconContrast,
  IconDots,
  IconHelp,
  IconLayoutSidebarLeftCollapse,
  IconLayoutSidebarLeftExpand,
  IconSearch,
} from '../components/icons';
import { usePhone } from '../components/media';
import { Menu, MenuItem, MenuLine } from '../components/menu';
import { Skeleton } from '../components/notice';
import { zoneName } from '../format/time';
import { Help } from '../keys/help';
import { type Command, shownKeys, useCommands } from '../keys/keymap';
import { Palette } from '../keys/palette';
import { useConnection, useHeartbeat } from '../live/connection';
import { PAGES, type PageEntry } from '../pages';
import { set, settings, useSettings } from '../store/local';
import { Link } from '../url/link';
import { href, navigate } from '../url/location';
import { type Badges, useBadges } from './badges';
import { ConnectionBar, LiveDot } from './connection-bar';
import classes from './shell.module.css';

const NAME = typeof document === 'undefined' ? 'Narthex' : document.title;
/** Pages that a phone's bar has; the others are behind "More". */
const ON_PHONE = ['/alerts', '/query', '/targets'];

export function Shell({ current, children }: { current: PageEntry | undefined; children: ReactNode }) {
  useHeartbeat();
  const badges = useBadges();
  const phone = usePhone();
  const { railFolded } = useSettings();
  const [open, setOpen] = useState<'palette' | 'help'>();
  useShellCommands(setOpen);
  const lost = useConnection().state === 'lost';
  return (
    <div className={classes.shell} data-folded={railFolded || undefined}>
      {/* biome-ignore lint/a11y/useValidAnchor: it leads to a part of the page; the address is the state, so that none is set */}
      <a className={classes.skip} href="#main" onClick={skip}>
        Skip to the page
      </a>
      {phone ? (
        <PhoneBar current={current} badges={badges} onPalette={() => setOpen('palette')} />
      ) : (
        <Rail current={current} badges={badges} folded={railFolded} />
      )}
      <Top onPalette={() => setOpen('palette')} onHelp={() => setOpen('help')} />
      <main id="main" className={classes.main} data-scroller tabIndex={-1}>
        <ConnectionBar />
        <div data-stale={lost || undefined}>
          <Suspense fallback={<Skeleton rows={12} />}>{children}</Suspense>
        </div>
      </main>
      {open === 'palette' && <Palette onClose={() => setOpen(undefined)} />}
      {open === 'help' && <Help onClose={() => setOpen(undefined)} />}
    </div>
  );
}

/** A fragment would lead to where the document's base is. */
function skip(event: React.MouseEvent): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function useShellCommands(open: (what: 'palette' | 'help') => void): void {
  const commands = useMemo<Command[]>(
    () => [
      { keys: 'mod+k', title: 'Find anything', group: 'Everywhere', run: () => open('palette') },
      { keys: '?', title: 'Show all keys', group: 'Everywhere', run: () => open('help') },
      {
        keys: 'u',
        title: 'Switch between local time and UTC',
        group: 'Everywhere',
        run: () => set({ zone: settings().zone === 'UTC' ? 'local' : 'UTC' }),
      },
      {
        keys: '.',
        title: 'Switch between dense and comfortable rows',
        group: 'Everywhere',
        run: () => set({ density: settings().density === 'dense' ? 'comfortable' : 'dense' }),
      },
      { keys: '', title: 'Light theme', group: 'Everywhere', run: () => set({ theme: 'light' }) },
      { keys: '', title: 'Dark theme', group: 'Everywhere', run: () => set({ theme: 'dark' }) },
      { keys: '', title: "The system's theme", group: 'Everywhere', run: () => set({ theme: 'auto' }) },
      ...PAGES.map<Command>(page => ({
        keys: `g ${page.key}`,
        title: page.title,
        group: 'Go to',
        run: () => navigate(href(page.path)),
      })),
    ],
    [open],
  );
  useCommands(commands);
}

function Rail({
  current,
  badges,
  folded,
}: {
  current: PageEntry | undefined;
  badges: Badges;
  folded: boolean;
}) {
  const Fold = folded ? IconLayoutSidebarLeftExpand : IconLayoutSidebarLeftCollapse;
  return (
    <nav className={classes.rail} aria-label="Pages">
      <Link to="/query" className={classes.brand} title={NAME}>
        <Mark />
        <span className={classes.word}>{NAME}</span>
      </Link>
      {PAGES.map(page => (
        <Link
          key={page.path}
          title={folded ? page.title : undefined}
          to={page.path}
          className={classes.item}
          aria-current={page === current ? 'page' : undefined}
        >
          <page.icon size={20} stroke={1.75} aria-hidden />
          <span className={classes.word}>{page.title}</span>
          <Count of={badges[page.path]} />
        </Link>
      ))}
      <ActionIcon
        className={classes.fold as string}
        aria-label={folded ? 'Unfold the rail' : 'Fold the rail'}
        aria-expanded={!folded}
        onClick={() => set({ railFolded: !folded })}
      >
        <Fold size={20} stroke={1.75} />
      </ActionIcon>
    </nav>
  );
}

/** A number only where somebody is needed. */
function Count({ of }: { of: { count: number; what: string; critical: boolean } | undefined }) {
  if (!of || of.count === 0) return null;
  return (
    <span className={classes.count} data-critical={of.critical || undefined}>
      <span aria-hidden>{of.count > 999 ? '999+' : of.count}</span>
      <span className="unseen">
        {of.count} {of.what}
      </span>
    </span>
  );
}

function PhoneBar({
  current,
  badges,
  onPalette,
}: {
  current: PageEntry | undefined;
  badges: Badges;
  onPalette: () => void;
}) {
  const shown = ON_PHONE.map(path => PAGES.find(page => page.path === path) as PageEntry);
  return (
    <nav className={classes.phoneBar} aria-label="Pages">
      {shown.map(page => (
        <Link
          key={page.path}
          to={page.path}
          className={classes.phoneItem}
          aria-current={page === current ? 'page' : undefined}
        >
          <page.icon size={20} stroke={1.75} aria-hidden />
          <span>{page.title}</span>
          <Count of={badges[page.path]} />
        </Link>
      ))}
      <Menu
        align="end"
        className={classes.phoneItem}
        label="More pages"
        current={current !== undefined && !shown.includes(current)}
        face={
          <>
            <IconDots size={20} stroke={1.75} aria-hidden />
            <span>More</span>
          </>
        }
      >
        {PAGES.filter(page => !shown.includes(page)).map(page => (
          <MenuItem
            key={page.path}
            icon={<page.icon size={20} stroke={1.75} />}
            onClick={() => navigate(href(page.path))}
          >
            {page.title}
          </MenuItem>
        ))}
        <MenuLine />
        <MenuItem icon={<IconSearch size={20} stroke={1.75} />} onClick={onPalette}>
          Find anything
        </MenuItem>
      </Menu>
    </nav>
  );
}

function Top({ onPalette, onHelp }: { onPalette: () => void; onHelp: () => void }) {
  const { zone, theme } = useSettings();
  const next = { auto: 'light', light: 'dark', dark: 'auto' } as const;
  return (
    <header className={classes.top}>
      <button type="button" className={classes.find} onClick={onPalette}>
        <IconSearch size={16} stroke={1.75} aria-hidden />
        <span>Find anything</span>
        <kbd>{shownKeys('mod+k').join(' ')}</kbd>
      </button>
      <span className={classes.gap} />
      <button
        type="button"
        className={classes.zone}
        onClick={() => set({ zone: zone === 'UTC' ? 'local' : 'UTC' })}
      >
        {zoneName(zone)}
      </button>
      <ActionIcon aria-label="Switch the theme" onClick={() => set({ theme: next[theme] })}>
        <IconContrast size={20} stroke={1.75} />
      </ActionIcon>
      <ActionIcon className={classes.help as string} aria-label="Keys" onClick={onHelp}>
        <IconHelp size={20} stroke={1.75} />
      </ActionIcon>
      <LiveDot />
    </header>
  );
}

/** The stalk in which the fire was carried. */
function Mark() {
  return (
    <svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true" className={classes.mark}>
      <rect width="32" height="32" rx="7" />
      <path
        d="M10 25V11.5c0-2 1.2-3.5 3-3.5h6c1.8 0 3 1.5 3 3.5V25M16 25V13M10 15h12"
        fill="none"
        strokeWidth="2.4"
        strokeLinecap="round"
      />
    </svg>
  );
}
