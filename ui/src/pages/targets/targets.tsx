/** Targets: which are down, why, and what is known of each. */
import { Button, NativeSelect, SegmentedControl } from '@mantine/core';
import { useMemo } from 'react';
import { targets } from '../../api/prometheus';
import type { Target } from '../../api/types';
import { choices } from '../../components/choices';
import { FilterBox } from '../../components/filter';
import { legendFilter } from '../../components/graph/legend';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { HealthBadge } from '../../components/state';
import { type Column, Table } from '../../components/table';
import { Ago, isNever } from '../../components/times';
import { count, counted } from '../../format/number';
import { seconds } from '../../format/time';
import { usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { setParams, useChoice, useParam } from '../../url/params';
import { causeOf, causesOf } from './causes';
import { TargetMap } from './map';
import classes from './targets.module.css';

const EVERY = 10_000;
const HEALTHS = ['all', 'down', 'unknown', 'up'] as const;
const VIEWS = ['list', 'map'] as const;

export default function Targets() {
  const [pool, setPool] = useParam('pool');
  const [health, setHealth] = useChoice('health', HEALTHS);
  const [search, setSearch] = useParam('search', '', true);
  const [cause] = useParam('cause');
  const [view, setView] = useChoice('view', VIEWS);
  const answer = usePoll({
    key: ['targets'],
    ask: signal => targets('active', undefined, signal),
    every: EVERY,
  });
  const all = useMemo(() => [...(answer.data?.activeTargets ?? [])].sort(byNeed), [answer.data]);
  const pools = useMemo(() => [...new Set(all.map(target => target.scrapePool))].sort(), [all]);
  const shown = useMemo(() => {
    const bySearch = matcherOf(search);
    return all.filter(
      target =>
        (pool === '' || target.scrapePool === pool) &&
        (health === 'all' || target.health === health) &&
        (cause === '' || (target.health === 'down' && causeOf(target.lastError).text === cause)) &&
        bySearch(target),
    );
  }, [all, pool, health, search, cause]);
  const down = all.filter(target => target.health === 'down').length;
  return (
    <Page title="Targets" badge={down} sentence={answer.data ? sentence(all) : 'Targets'}>
      <Bar>
        <FilterBox
          label="Filter targets"
          placeholder={'text, or {env="prod"}'}
          value={search}
          onChange={setSearch}
        />
        <NativeSelect
          aria-label="Job"
          data={[{ value: '', label: 'all jobs' }, ...pools]}
          value={pool}
          onChange={event => setPool(event.currentTarget.value)}
        />
        <SegmentedControl
          aria-label="Health"
          data={choices(HEALTHS)}
          value={health}
          onChange={value => setHealth(value as (typeof HEALTHS)[number])}
        />
        <SegmentedControl
          aria-label="View"
          data={choices(VIEWS)}
          value={view}
          onChange={value => setView(value as (typeof VIEWS)[number])}
        />
        <Link to="/service-discovery" params={pool === '' ? {} : { pool }}>
          How they were found
        </Link>
      </Bar>
      <Answered of={answer} rows={16}>
        {({ discoveryErrors = [] }) => (
          <>
            {discoveryErrors.map(trouble => (
              <Notice
                key={trouble.scrapePool + trouble.mechanism}
                tone="warning"
                fact={`Discovery by ${trouble.mechanism} fails for ${trouble.scrapePool}; what was found before goes on.`}
                reason={trouble.lastError}
              />
            ))}
            <Causes all={all} chosen={cause} />
            {shown.length === 0 ? (
              <None all={all.length} />
            ) : view === 'map' ? (
              <TargetMap targets={shown} />
            ) : (
              <List shown={shown} />
            )}
          </>
        )}
      </Answered>
    </Page>
  );
}

const NEED = ['down', 'unknown', 'up'];
function byNeed(a: Target, b: Target): number {
  return (
    NEED.indexOf(a.health) - NEED.indexOf(b.health) ||
    a.scrapePool.localeCompare(b.scrapePool) ||
    a.scrapeUrl.localeCompare(b.scrapeUrl, undefined, { numeric: true })
  );
}

function matcherOf(search: string): (target: Target) => boolean {
  const byLabels = legendFilter(search);
  const part = search.trim().toLowerCase();
  return target =>
    byLabels(target) ||
    target.scrapeUrl.toLowerCase().includes(part) ||
    (part !== '' && target.lastError.toLowerCase().includes(part));
}

function sentence(all: readonly Target[]): string {
  const causes = causesOf(all);
  const down = causes.reduce((sum, cause) => sum + cause.count, 0);
  if (all.length === 0) return 'No targets.';
  if (down === 0) {
    const unknown = all.filter(target => target.health === 'unknown').length;
    const waiting = unknown > 0 ? `; ${counted(unknown, 'target')} not scraped yet` : '';
    return all.length === 1
      ? `The one target is up${waiting}.`
      : `All ${counted(all.length, 'target')} are up${waiting}.`;
  }
  const named = causes
    .slice(0, 3)
    .map(cause => `${cause.text} ${count(cause.count)} (${cause.pools.slice(0, 2).join(', ')})`);
  return `${count(down)} of ${counted(all.length, 'target')} down: ${named.join(', ')}${causes.length > 3 ? ' and others' : ''}.`;
}

function Causes({ all, chosen }: { all: readonly Target[]; chosen: string }) {
  const causes = causesOf(all);
  if (causes.length === 0) return null;
  return (
    <ul className={classes.causes} aria-label="Why targets are down">
      {causes.map(cause => (
        <li key={cause.text}>
          <button
            type="button"
            aria-pressed={cause.text === chosen}
            onClick={() => setParams({ cause: cause.text === chosen ? undefined : cause.text })}
          >
            <b>{cause.text}</b> {count(cause.count)} in {cause.pools.slice(0, 3).join(', ')}
          </button>
          {cause.text === chosen && <p className="ink2">{cause.hint}</p>}
        </li>
      ))}
    </ul>
  );
}

function None({ all }: { all: number }) {
  if (all === 0)
    return (
      <Notice
        fact="Nothing is scraped."
        reason="The configuration has no scrape_configs, or discovery found nothing."
        next={<Link to="/service-discovery">See what discovery found</Link>}
      />
    );
  return (
    <Notice
      fact={`None of ${counted(all, 'target')} is shown.`}
      reason="They are left out by the filters above."
      next={
        <Button
          onClick={() =>
            setParams({ pool: undefined, health: undefined, search: undefined, cause: undefined })
          }
        >
          Show all
        </Button>
      }
    />
  );
}

const id = (target: Target) => `${target.scrapePool} ${target.scrapeUrl}`;

function List({ shown }: { shown: readonly Target[] }) {
  const [sort, setSort] = useParam('sort');
  const [open, setOpen] = useParam('target');
  const [, setSearch] = useParam('search', '', true);
  const columns = useMemo<Column<Target>[]>(
    () => [
      {
        key: 'health',
        title: 'health',
        width: '96px',
        phone: 'side',
        cell: target => <HealthBadge health={target.health} />,
      },
      {
        key: 'url',
        title: 'target',
        width: 'minmax(0, 1.3fr)',
        phone: 'main',
        cell: target => <span title={target.scrapeUrl}>{target.labels.instance ?? target.scrapeUrl}</span>,
        compare: (a, b) => a.scrapeUrl.localeCompare(b.scrapeUrl, undefined, { numeric: true }),
      },
      {
        key: 'job',
        title: 'job',
        width: 'minmax(0, 160px)',
        phone: 'side',
        cell: target => target.scrapePool,
        compare: (a, b) => a.scrapePool.localeCompare(b.scrapePool),
      },
      {
        key: 'labels',
        title: 'labels',
        width: 'minmax(0, 1fr)',
        cell: target => (
          <Pills
            labels={target.labels}
            without={['instance', 'job']}
            onFilter={matcher => setSearch(`{${matcher.name}${matcher.op}"${matcher.value}"}`)}
          />
        ),
      },
      {
        key: 'error',
        title: 'error',
        width: 'minmax(0, 2fr)',
        phone: 'side',
        cell: target =>
          target.lastError || target.lastWarning ? (
            <span title={target.lastError || target.lastWarning}>
              {target.lastError || target.lastWarning}
            </span>
          ) : (
            <span className="ink3">–</span>
          ),
      },
      {
        key: 'scraped',
        title: 'scraped',
        width: '92px',
        number: true,
        cell: target => <Ago at={target.lastScrape} />,
      },
      {
        key: 'took',
        title: 'took',
        width: '76px',
        number: true,
        cell: target => (isNever(target.lastScrape) ? '' : seconds(target.lastScrapeDuration)),
        compare: (a, b) => a.lastScrapeDuration - b.lastScrapeDuration,
      },
    ],
    [setSearch],
  );
  return (
    <Panel flush>
      <Table
        label="Targets"
        columns={columns}
        rows={shown}
        rowKey={id}
        sort={sort}
        onSort={setSort}
        main
        onOpen={target => setOpen(open === id(target) ? '' : id(target))}
        detail={target => (id(target) === open ? <Detail target={target} /> : undefined)}
      />
    </Panel>
  );
}

function Detail({ target }: { target: Target }) {
  const { text, hint } = causeOf(target.lastError);
  return (
    <div className={classes.detail}>
      {target.lastError && (
        <Notice tone="critical" fact={`Down: ${text}.`} reason={target.lastError} next={hint} />
      )}
      {target.lastWarning && <Notice tone="warning" fact={target.lastWarning} />}
      <p>
        <a href={target.globalUrl} target="_blank" rel="noreferrer">
          {target.scrapeUrl}
        </a>{' '}
        <span className="ink2">
          each {target.scrapeInterval}, at most {target.scrapeTimeout}
        </span>
      </p>
      <Pills labels={target.labels} />
      <p>
        <Link
          to="/service-discovery"
          params={{ pool: target.scrapePool, search: target.discoveredLabels.__address__ }}
        >
          How it was found and relabelled
        </Link>
        {' · '}
        <Link
          to="/query"
          params={{
            'g0.expr': `up{job=${JSON.stringify(target.labels.job ?? '')}, instance=${JSON.stringify(target.labels.instance ?? '')}}`,
            'g0.tab': 'graph',
          }}
        >
          Its health over time
        </Link>
      </p>
    </div>
  );
}
