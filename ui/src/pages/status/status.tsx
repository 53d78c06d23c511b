/** Status: what this server is, how it fares, and what it was told. */
import { SegmentedControl } from '@mantine/core';
import { useMemo, useState } from 'react';
import { buildInfo, config, flags, notices, runtimeInfo } from '../../api/prometheus';
import type { BuildInfo, RuntimeInfo, Notice as ServerNotice } from '../../api/types';
import { choices } from '../../components/choices';
import { CopyButton } from '../../components/copy';
import { FilterBox } from '../../components/filter';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { type Column, Table } from '../../components/table';
import { Ago, For, Moment } from '../../components/times';
import { counted } from '../../format/number';
import { usePoll } from '../../live/poll';
import { useChoice, useParam } from '../../url/params';
import classes from './status.module.css';

const TABS = ['health', 'flags', 'config'] as const;

export default function Status() {
  const [tab, setTab] = useChoice('tab', TABS);
  const runtime = usePoll({ key: ['runtime'], ask: runtimeInfo, every: 10_000 });
  const told = usePoll({ key: ['notices'], ask: notices, every: 10_000 });
  const troubles = troublesOf(runtime.data, told.data);
  return (
    <Page
      title="Status"
      badge={troubles.length}
      sentence={runtime.data ? <Sentence runtime={runtime.data} troubles={troubles} /> : 'Status'}
    >
      <Bar>
        <SegmentedControl
          aria-label="Part"
          data={choices(TABS)}
          value={tab}
          onChange={value => setTab(value as (typeof TABS)[number])}
        />
      </Bar>
      {tab === 'health' && <Health runtime={runtime} troubles={troubles} />}
      {tab === 'flags' && <Flags />}
      {tab === 'config' && <Config />}
    </Page>
  );
}

interface Trouble {
  fact: string;
  next: string;
}

/** What needs somebody. */
export function troublesOf(
  runtime: RuntimeInfo | undefined,
  told: readonly ServerNotice[] | undefined,
): Trouble[] {
  const found: Trouble[] = [];
  if (runtime && !runtime.reloadConfigSuccess)
    found.push({
      fact: 'The configuration could not be loaded; the one before is in force.',
      next: 'The log says where the mistake is. Mend it and reload.',
    });
  if (runtime && runtime.corruptionCount > 0)
    found.push({
      fact: `${counted(runtime.corruptionCount, 'damaged place', 'damaged places')} in the write-ahead log.`,
      next: 'What was after them is lost; the log says which files. Look at the disk.',
    });
  for (const notice of told ?? [])
    if (notice.active && !/reload/i.test(notice.text)) found.push({ fact: notice.text, next: '' });
  return found;
}

function Sentence({ runtime, troubles }: { runtime: RuntimeInfo; troubles: readonly Trouble[] }) {
  const first = troubles[0];
  if (first) return first.fact;
  return (
    <>
      Running for <For from={runtime.startTime} /> without trouble.
    </>
  );
}

function Health({
  runtime,
  troubles,
}: {
  runtime: ReturnType<typeof usePoll<RuntimeInfo>>;
  troubles: readonly Trouble[];
}) {
  const build = usePoll({ key: ['build'], ask: buildInfo });
  return (
    <>
      {troubles.map(trouble => (
        <Notice key={trouble.fact} tone="warning" fact={trouble.fact} next={trouble.next} />
      ))}
      <Panel title="This server">
        <Answered of={runtime} rows={8}>
          {data => <Facts runtime={data} build={build.data} />}
        </Answered>
      </Panel>
    </>
  );
}

function Facts({ runtime, build }: { runtime: RuntimeInfo; build: BuildInfo | undefined }) {
  const facts: [string, React.ReactNode][] = [
    ['started', <Moment key="s" at={runtime.startTime} />],
    [
      'configuration loaded',
      <span key="c">
        <Ago at={runtime.lastConfigTime} />
        {runtime.reloadConfigSuccess ? '' : ', and not since'}
      </span>,
    ],
    ['keeps samples for', runtime.storageRetention],
    ['machine', runtime.hostname],
    ['working folder', runtime.CWD],
    ['processors', String(runtime.GOMAXPROCS)],
    ['tasks', String(runtime.goroutineCount)],
    ['version', build ? build.branch.replace(/^narthex-/, '') : '–'],
    ['answers as Prometheus', build?.version ?? '–'],
    ['revision', build?.revision || '–'],
  ];
  return (
    <dl className={classes.facts}>
      {facts.map(([name, text]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}

interface Flag {
  name: string;
  value: string;
}

const FLAG_COLUMNS: Column<Flag>[] = [
  {
    key: 'name',
    title: 'flag',
    width: 'minmax(0, 1fr)',
    phone: 'main',
    cell: flag => <code>--{flag.name}</code>,
    compare: (a, b) => a.name.localeCompare(b.name),
  },
  {
    key: 'value',
    title: 'value',
    width: 'minmax(0, 1fr)',
    phone: 'side',
    cell: flag =>
      flag.value === '' ? <span className="ink3">empty</span> : <code title={flag.value}>{flag.value}</code>,
    compare: (a, b) => a.value.localeCompare(b.value),
  },
];

function Flags() {
  const answer = usePoll({ key: ['flags'], ask: flags });
  const [search, setSearch] = useParam('search', '', true);
  const [sort, setSort] = useParam('sort');
  const rows = useMemo(
    () => Object.entries(answer.data ?? {}).map(([name, value]) => ({ name, value })),
    [answer.data],
  );
  const shown = rows.filter(flag =>
    `--${flag.name}=${flag.value}`.toLowerCase().includes(search.trim().toLowerCase()),
  );
  return (
    <>
      <Bar>
        <FilterBox label="Filter flags" value={search} onChange={setSearch} />
      </Bar>
      <Answered of={answer} rows={20}>
        {() =>
          shown.length === 0 ? (
            <Notice fact={`No flag holds “${search}”.`} />
          ) : (
            <Panel flush>
              <Table
                label="Flags"
                columns={FLAG_COLUMNS}
                rows={shown}
                rowKey={flag => flag.name}
                sort={sort}
                onSort={setSort}
                main
              />
            </Panel>
          )
        }
      </Answered>
    </>
  );
}

function Config() {
  const answer = usePoll({ key: ['config'], ask: config });
  const [search, setSearch] = useState('');
  return (
    <Answered of={answer} rows={20}>
      {yaml => {
        const lines = yaml.split('\n').map((text, index) => ({ text, number: index + 1 }));
        const part = search.trim().toLowerCase();
        const shown = part === '' ? lines : lines.filter(line => line.text.toLowerCase().includes(part));
        return (
          <>
            <Bar>
              <FilterBox label="Find in the configuration" value={search} onChange={setSearch} />
              <CopyButton text={yaml} label="Copy the configuration" />
              <span className="ink3">
                {part === '' ? 'Secrets are hidden by the server.' : counted(shown.length, 'line')}
              </span>
            </Bar>
            <Panel flush>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls sideways by keys */}
              <pre className={classes.yaml} tabIndex={0}>
                {shown.map(line => (
                  <div key={line.number}>
                    <i aria-hidden>{line.number}</i>
                    {line.text}
                  </div>
                ))}
              </pre>
            </Panel>
          </>
        );
      }}
    </Answered>
  );
}
