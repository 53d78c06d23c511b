/** All pages: where they lie, what they are called, the key that leads there, and what shows them. */
import { type ComponentType, lazy } from 'react';
import {
  IconBell,
  IconBellOff,
  IconChartLine,
  IconDatabase,
  IconListCheck,
  IconServer,
  IconTarget,
} from '../components/icons';

export interface PageEntry {
  title: string;
  /** Where the rail leads. */
  path: string;
  /** Behind `g`. */
  key: string;
  icon: typeof IconBell;
  /** Addresses that it shows; `:name` stands for one part, and is handed on as a property. */
  shows: Record<string, ComponentType<Record<string, string>>>;
}

const page = (load: () => Promise<{ default: ComponentType<never> }>) =>
  lazy(load as () => Promise<{ default: ComponentType<Record<string, string>> }>);

/** In the order of the rail. */
export const PAGES: readonly PageEntry[] = [
  {
    title: 'Explore',
    path: '/query',
    key: 'e',
    icon: IconChartLine,
    shows: { '/query': page(() => import('./explore/explore')) },
  },
  {
    title: 'Alerts',
    path: '/alerts',
    key: 'a',
    icon: IconBell,
    shows: {
      '/alerts': page(() => import('./alerts/alerts')),
      '/alerts/:fingerprint': page(() => import('./alerts/alert')),
    },
  },
  {
    title: 'Rules',
    path: '/rules',
    key: 'r',
    icon: IconListCheck,
    shows: { '/rules': page(() => import('./rules/rules')) },
  },
  {
    title: 'Notifications',
    path: '/notifications/silences',
    key: 'n',
    icon: IconBellOff,
    shows: {
      '/notifications/silences': page(() => import('./notifications/silences')),
      '/notifications/silences/new': page(() => import('./notifications/silence')),
      '/notifications/silences/:id': page(() => import('./notifications/silence')),
      '/notifications/destinations': page(() => import('./notifications/destinations')),
    },
  },
  {
    title: 'Targets',
    path: '/targets',
    key: 't',
    icon: IconTarget,
    shows: {
      '/targets': page(() => import('./targets/targets')),
      '/service-discovery': page(() => import('./targets/discovery')),
    },
  },
  {
    title: 'Storage',
    path: '/storage',
    key: 's',
    icon: IconDatabase,
    shows: { '/storage': page(() => import('./storage/storage')) },
  },
  {
    title: 'Status',
    path: '/status',
    key: 'i',
    icon: IconServer,
    shows: { '/status': page(() => import('./status/status')) },
  },
];

export interface Found {
  entry: PageEntry;
  component: ComponentType<Record<string, string>>;
  parts: Record<string, string>;
}

/** The page of a path; a path without parts comes before one with them. */
export function pageOf(path: string): Found | undefined {
  let found: Found | undefined;
  for (const entry of PAGES) {
    for (const [pattern, component] of Object.entries(entry.shows)) {
      const parts = fits(pattern, path);
      if (parts && (!found || Object.keys(parts).length < Object.keys(found.parts).length))
        found = { entry, component, parts };
    }
  }
  return found;
}

function fits(pattern: string, path: string): Record<string, string> | undefined {
  const [want, have] = [pattern.split('/'), path.split('/')];
  if (want.length !== have.length) return undefined;
  const parts: Record<string, string> = {};
  for (const [at, word] of want.entries()) {
    const text = have[at] ?? '';
    if (word.startsWith(':') && text !== '') parts[word.slice(1)] = decoded(text);
    else if (word !== text) return undefined;
  }
  return parts;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
