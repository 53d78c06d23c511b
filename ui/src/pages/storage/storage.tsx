/** Storage: how many series there are, of what, and which time is kept. */
import { SegmentedControl } from '@mantine/core';
import { useMemo } from 'react';
import { blocks, tsdbStatus } from '../../api/prometheus';
import type { Stat, TsdbStatus } from '../../api/types';
import { FilterBox } from '../../components/filter';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { type Column, Table } from '../../components/table';
import { Ago, Moment } from '../../components/times';
import { count, counted, number } from '../../format/number';
import { rough } from '../../format/time';
import { value } from '../../format/unit';
import { usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { useChoice, useParam } from '../../url/params';
import { Blocks } from './blocks';
import classes from './storage.module.css';

const BY = ['metric', 'pair', 'label', 'memory'] as const;
type By = (typeof BY)[number];
/** Names of each list. */
const LIMIT = 500;

export default function Storage() {
  const answer = usePoll({ key: ['tsdb'], ask: signal => tsdbStatus(LIMIT, signal), every: 15_000 });
  const stored = usePoll({ key: ['blocks'], ask: blocks, every: 60_000 });
  const [by, setBy] = useChoice('by', BY);
  return (
    <Page title="Storage" sentence={answer.data ? sentence(answer.data) : 'Storage'}>
      <Answered of={answer} rows={14}>
        {data => (
          <>
            <Facts of={data} />
            <Panel title="On disk">
              <Answered of={stored} rows={3}>
                {list =>
                  list.length === 0 ? (
                    <p className="ink2">
                      No block yet: the newest hours are in memory and in the log. The first block is written
                      after two to three hours.
                    </p>
                  ) : (
                    <Blocks blocks={list} head={data.headStats} />
                  )
                }
              </Answered>
            </Panel>
            <Top of={data} by={by} onBy={setBy} />
          </>
        )}
      </Answered>
    </Page>
  );
}

function sentence({ headStats, seriesCountByMetricName }: TsdbStatus): string {
  const first = seriesCountByMetricName[0];
  const of =
    first && headStats.numSeries > 0
      ? `, ${Math.round((100 * first.value) / headStats.numSeries)} % of them ${first.name}`
      : '';
  return `${number(headStats.numSeries)} series in memory${of}.`;
}

function Facts({ of: { headStats } }: { of: TsdbStatus }) {
  const covers = headStats.maxTime - headStats.minTime;
  return (
    <dl className={classes.facts}>
      <div>
        <dt>series</dt>
        <dd>{count(headStats.numSeries)}</dd>
      </div>
      <div>
        <dt>pairs of label and value</dt>
        <dd>{count(headStats.numLabelPairs)}</dd>
      </div>
      <div>
        <dt>chunks</dt>
        <dd>{count(headStats.chunkCount)}</dd>
      </div>
      {covers >= 0 && (
        <>
          <div>
            <dt>in memory since</dt>
            <dd>
              <Moment at={headStats.minTime} />
              <span className="ink3"> ({rough(covers)})</span>
            </dd>
          </div>
          <div>
            <dt>newest sample</dt>
            <dd>
              <Ago at={headStats.maxTime} />
            </dd>
          </div>
        </>
      )}
    </dl>
  );
}

function Top({ of, by, onBy }: { of: TsdbStatus; by: By; onBy: (by: By) => void }) {
  const [search, setSearch] = useParam('search', '', true);
  const lists: Record<By, readonly Stat[]> = {
    metric: of.seriesCountByMetricName,
    pair: of.seriesCountByLabelValuePair,
    label: of.labelValueCountByLabelName,
    memory: of.memoryInBytesByLabelName,
  };
  const rows = lists[by];
  const shown = useMemo(
    () => rows.filter(row => row.name.toLowerCase().includes(search.trim().toLowerCase())),
    [rows, search],
  );
  const columns = useMemo(
    () => columnsOf(by, rows, of.headStats.numSeries),
    [by, rows, of.headStats.numSeries],
  );
  return (
    <>
      <Bar>
        <SegmentedControl
          aria-label="Count by"
          data={[
            { value: 'metric', label: 'Series by metric' },
            { value: 'pair', label: 'Series by label and value' },
            { value: 'label', label: 'Values by label' },
            { value: 'memory', label: 'Memory by label' },
          ]}
          value={by}
          onChange={word => onBy(word as By)}
        />
        <FilterBox label="Filter names" value={search} onChange={setSearch} />
        {rows.length >= LIMIT && <span className="ink3">the {LIMIT} largest</span>}
      </Bar>
      {shown.length === 0 ? (
        <Notice fact={rows.length === 0 ? 'Nothing is stored yet.' : `No name holds “${search}”.`} />
      ) : (
        <Panel flush>
          <Table label="Largest" columns={columns} rows={shown} rowKey={row => row.name} main />
        </Panel>
      )}
    </>
  );
}

function columnsOf(by: By, rows: readonly Stat[], series: number): Column<Stat>[] {
  const most = rows[0]?.value ?? 1;
  const what = { metric: 'series', pair: 'series', label: 'values', memory: 'memory' }[by];
  const share: Column<Stat>[] =
    by === 'metric' || by === 'pair'
      ? [
          {
            key: 'share',
            title: 'of all',
            width: '72px',
            number: true,
            cell: row => value(series > 0 ? row.value / series : 0, { kind: 'ratio', perSecond: false }),
          },
        ]
      : [];
  return [
    {
      key: 'name',
      title: by === 'metric' ? 'metric' : by === 'pair' ? 'label and value' : 'label',
      width: 'minmax(0, 1.4fr)',
      phone: 'main',
      cell: row => <Name by={by} name={row.name} />,
    },
    {
      key: 'bar',
      title: '',
      width: 'minmax(0, 1fr)',
      cell: row => (
        <span className={classes.bar} aria-hidden>
          <i style={{ width: `${(100 * row.value) / most}%` }} />
        </span>
      ),
    },
    {
      key: 'value',
      title: what,
      width: '96px',
      number: true,
      phone: 'side',
      cell: row =>
        by === 'memory'
          ? value(row.value, { kind: 'bytes', perSecond: false })
          : counted(row.value, '', '').trim(),
    },
    ...share,
  ];
}

/** Names lead to what they name. */
function Name({ by, name }: { by: By; name: string }) {
  const [label, ...rest] = name.split('=');
  const expr =
    by === 'metric'
      ? name
      : by === 'pair'
        ? `count by (__name__) ({${label}=${JSON.stringify(rest.join('='))}})`
        : `count by (__name__) ({${name}!=""})`;
  return (
    <Link
      to="/query"
      params={{ 'g0.expr': expr, 'g0.tab': by === 'metric' ? 'graph' : 'table' }}
      title={name}
      className={classes.name}
    >
      {name}
    </Link>
  );
}
