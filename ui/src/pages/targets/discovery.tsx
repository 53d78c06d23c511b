/** What discovery found, and what each step of relabelling made of it. */
import { NativeSelect, SegmentedControl } from '@mantine/core';
import { useMemo } from 'react';
import { relabelSteps, scrapePools, targets } from '../../api/prometheus';
import { choices } from '../../components/choices';
import { FilterBox } from '../../components/filter';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { HealthBadge } from '../../components/state';
import { type Column, Table } from '../../components/table';
import { keyOf, type Labels } from '../../format/labels';
import { counted } from '../../format/number';
import { usePoll } from '../../live/poll';
import { useChoice, useParam } from '../../url/params';
import classes from './targets.module.css';

const EVERY = 15_000;
const STATES = ['all', 'kept', 'dropped'] as const;

interface Row {
  id: string;
  pool: string;
  found: Labels;
  /** What is left of it; nothing where it was dropped. */
  labels: Labels | undefined;
}

export default function Discovery() {
  const pools = usePoll({ key: ['scrapePools'], ask: scrapePools, every: 60_000 });
  const [chosen, setPool] = useParam('pool');
  const [state, setState] = useChoice('state', STATES);
  const [search, setSearch] = useParam('search', '', true);
  const [open, setOpen] = useParam('target');
  // One job at a time: of all jobs there may be very many.
  const pool = chosen || pools.data?.[0] || '';
  const answer = usePoll({
    key: ['discovery', pool],
    ask: signal => targets('any', pool, signal),
    every: EVERY,
    enabled: pool !== '',
  });
  const rows = useMemo<Row[]>(() => {
    const { activeTargets = [], droppedTargets = [] } = answer.data ?? {};
    const kept = activeTargets.map(target => ({
      pool: target.scrapePool,
      found: target.discoveredLabels,
      labels: target.labels,
    }));
    const dropped = droppedTargets.map(target => ({
      pool: target.scrapePool,
      found: target.discoveredLabels,
      labels: undefined,
    }));
    return [...kept, ...dropped].map(row => ({ ...row, id: keyOf(row.found) }));
  }, [answer.data]);
  const shown = useMemo(
    () =>
      rows.filter(
        row =>
          (state === 'all' || (row.labels !== undefined) === (state === 'kept')) &&
          JSON.stringify([row.found, row.labels]).toLowerCase().includes(search.trim().toLowerCase()),
      ),
    [rows, state, search],
  );
  const droppedCount = answer.data?.droppedTargetCounts?.[pool] ?? 0;
  return (
    <Page
      title="Service discovery"
      sentence={
        answer.data
          ? `${pool}: ${counted(rows.length - (answer.data.droppedTargets.length ?? 0), 'target')} kept of ${rows.length}, ${droppedCount} dropped by relabelling.`
          : 'Service discovery'
      }
    >
      <Bar>
        <FilterBox label="Filter what was found" value={search} onChange={setSearch} />
        <NativeSelect
          aria-label="Job"
          data={pools.data ?? []}
          value={pool}
          onChange={event => setPool(event.currentTarget.value)}
        />
        <SegmentedControl
          aria-label="What became of it"
          data={choices(STATES)}
          value={state}
          onChange={value => setState(value as (typeof STATES)[number])}
        />
      </Bar>
      {pools.data?.length === 0 && (
        <Notice fact="Nothing is scraped." reason="The configuration has no scrape_configs." />
      )}
      {pool !== '' && (
        <Answered of={answer} rows={12}>
          {() =>
            shown.length === 0 ? (
              <Notice
                fact="Nothing is shown."
                reason={
                  rows.length === 0
                    ? 'Discovery found nothing for this job.'
                    : 'What was found is left out by the filters above.'
                }
              />
            ) : (
              <Panel flush>
                <Table
                  label="What was found"
                  columns={COLUMNS}
                  rows={shown}
                  rowKey={row => row.id}
                  main
                  onOpen={row => setOpen(open === row.id ? '' : row.id)}
                  detail={row => (row.id === open ? <Steps row={row} /> : undefined)}
                />
              </Panel>
            )
          }
        </Answered>
      )}
    </Page>
  );
}

const COLUMNS: Column<Row>[] = [
  {
    key: 'state',
    title: 'became',
    width: '104px',
    phone: 'side',
    cell: row => (
      <HealthBadge health={row.labels ? 'up' : 'unknown'} word={row.labels ? 'kept' : 'dropped'} />
    ),
  },
  {
    key: 'address',
    title: 'found',
    width: 'minmax(0, 1fr)',
    phone: 'main',
    cell: row => <span title={JSON.stringify(row.found)}>{row.found.__address__ ?? '(no address)'}</span>,
    compare: (a, b) => (a.found.__address__ ?? '').localeCompare(b.found.__address__ ?? ''),
  },
  {
    key: 'labels',
    title: 'labels of the target',
    width: 'minmax(0, 3fr)',
    cell: row => (row.labels ? <Pills labels={row.labels} /> : <span className="ink3">–</span>),
  },
];

function Steps({ row }: { row: Row }) {
  const answer = usePoll({
    key: ['relabel', row.pool, row.id],
    ask: signal => relabelSteps(row.pool, row.found, signal),
  });
  return (
    <div className={classes.detail}>
      <Answered of={answer} rows={3}>
        {steps => (
          <ol className={classes.steps}>
            <li>
              <b>found</b>
              <Pills labels={row.found} />
            </li>
            {steps.map((step, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: steps have nothing else to be told apart by
              <li key={index}>
                <span>
                  <b>step {index + 1}</b> <code>{ruleText(step.rule)}</code>
                </span>
                {step.keep ? (
                  <Changes
                    before={index === 0 ? row.found : (steps[index - 1]?.output ?? {})}
                    after={step.output}
                  />
                ) : (
                  <span className={classes.gone}>dropped here</span>
                )}
              </li>
            ))}
            <li>
              <b>{row.labels ? 'target' : 'dropped'}</b>
              {row.labels && <Pills labels={row.labels} />}
            </li>
          </ol>
        )}
      </Answered>
    </div>
  );
}

function ruleText(rule: Record<string, unknown>): string {
  return Object.entries(rule)
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}

/** Labels that a step brought, changed or took. */
function Changes({ before, after }: { before: Labels; after: Labels }) {
  const brought = Object.entries(after).filter(([name, value]) => before[name] !== value);
  const taken = Object.keys(before).filter(name => !(name in after));
  if (brought.length === 0 && taken.length === 0) return <span className="ink3">changes nothing</span>;
  return (
    <span className={classes.changes}>
      {brought.map(([name, value]) => (
        <ins key={name}>
          {name}={JSON.stringify(value)}
        </ins>
      ))}
      {taken.map(name => (
        <del key={name}>{name}</del>
      ))}
    </span>
  );
}
