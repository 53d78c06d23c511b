/** Rules: what is worked out and watched, whether it goes well, and what it costs. */
import { NativeSelect } from '@mantine/core';
import { useMemo } from 'react';
import { rules } from '../../api/prometheus';
import type { Rule, RuleGroup } from '../../api/types';
import { choices } from '../../components/choices';
import { FilterBox } from '../../components/filter';
import { IconCheck, IconQuestionMark, IconSquareX } from '../../components/icons';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { AlertBadge, severityOf } from '../../components/state';
import { type Column, Table } from '../../components/table';
import { Ago } from '../../components/times';
import { counted } from '../../format/number';
import { seconds } from '../../format/time';
import { usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { useChoice, useParam } from '../../url/params';
import { fingerprint } from '../alerts/model';
import classes from './rules.module.css';

const EVERY = 10_000;
const HEALTHS = ['all', 'failing', 'firing', 'pending', 'alerting', 'recording'] as const;

interface Row {
  id: string;
  rule: Rule;
  group: RuleGroup;
}

export default function Rules() {
  const answer = usePoll({ key: ['rules'], ask: rules, every: EVERY });
  const [health, setHealth] = useChoice('health', HEALTHS);
  const [search, setSearch] = useParam('search', '', true);
  const [file, setFile] = useParam('file');
  const [sort, setSort] = useParam('sort');
  const [open, setOpen] = useParam('rule');
  const rows = useMemo(() => rowsOf(answer.data ?? []), [answer.data]);
  const shown = useMemo(
    () => rows.filter(row => fits(row, health, search, file)),
    [rows, health, search, file],
  );
  const files = useMemo(() => [...new Set(rows.map(row => row.group.file))], [rows]);
  const failing = rows.filter(row => row.rule.health === 'err').length;
  return (
    <Page title="Rules" badge={failing} sentence={answer.data ? sentence(rows, answer.data) : 'Rules'}>
      <Bar>
        <FilterBox
          label="Filter rules"
          placeholder="name, expression, label"
          value={search}
          onChange={setSearch}
        />
        <NativeSelect
          aria-label="Kind and health"
          data={choices(HEALTHS)}
          value={health}
          onChange={event => setHealth(event.currentTarget.value as (typeof HEALTHS)[number])}
        />
        {files.length > 1 && (
          <NativeSelect
            aria-label="File"
            data={[{ value: '', label: 'all files' }, ...files]}
            value={file}
            onChange={event => setFile(event.currentTarget.value)}
          />
        )}
      </Bar>
      <Answered of={answer} rows={12}>
        {() =>
          shown.length === 0 ? (
            <Notice
              fact={
                rows.length === 0
                  ? 'There are no rules.'
                  : `None of ${counted(rows.length, 'rule')} is shown.`
              }
              reason={
                rows.length === 0
                  ? 'The configuration names no rule files.'
                  : 'They are left out by the filter above.'
              }
            />
          ) : (
            <Panel flush>
              <Table
                label="Rules"
                columns={COLUMNS}
                rows={shown}
                rowKey={row => row.id}
                sort={sort}
                onSort={setSort}
                main
                onOpen={row => setOpen(open === row.id ? '' : row.id)}
                detail={row => (row.id === open ? <Detail row={row} /> : undefined)}
              />
            </Panel>
          )
        }
      </Answered>
    </Page>
  );
}

function rowsOf(groups: readonly RuleGroup[]): Row[] {
  return groups.flatMap(group =>
    group.rules.map((rule, index) => ({ id: `${group.file};${group.name};${index}`, rule, group })),
  );
}

function fits({ rule, group }: Row, health: (typeof HEALTHS)[number], search: string, file: string): boolean {
  const text =
    `${rule.name} ${rule.query} ${group.name} ${Object.entries(rule.labels).flat().join(' ')}`.toLowerCase();
  if (!text.includes(search.trim().toLowerCase()) || (file !== '' && group.file !== file)) return false;
  switch (health) {
    case 'all':
      return true;
    case 'failing':
      return rule.health === 'err';
    case 'alerting':
    case 'recording':
      return rule.type === health;
    default:
      return rule.type === 'alerting' && rule.state === health;
  }
}

function sentence(rows: readonly Row[], groups: readonly RuleGroup[]): string {
  const failing = rows.filter(row => row.rule.health === 'err');
  const of = `${counted(rows.length, 'rule')} in ${counted(groups.length, 'group')}`;
  if (failing.length > 0)
    return `${failing.length} of ${of} ${failing.length === 1 ? 'fails' : 'fail'}: ${failing[0]?.rule.name}${failing.length > 1 ? ' and others' : ''}.`;
  const late = groups.filter(group => group.evaluationTime > group.interval);
  if (late.length > 0)
    return `${counted(late.length, 'group')} of ${groups.length} take longer than their interval: ${late[0]?.name}.`;
  return rows.length === 0 ? 'No rules.' : `${of}, all evaluated without an error.`;
}

const HEALTH = { ok: IconCheck, err: IconSquareX, unknown: IconQuestionMark };

function State({ rule }: { rule: Rule }) {
  if (rule.type === 'alerting' && rule.health === 'ok' && rule.state !== 'inactive')
    return <AlertBadge state={rule.state} severity={severityOf(rule.labels)} />;
  const Icon = HEALTH[rule.health];
  return (
    <span className={classes.health} data-health={rule.health}>
      <Icon size={14} stroke={1.75} aria-hidden />
      {{ ok: rule.type === 'alerting' ? 'quiet' : 'ok', err: 'fails', unknown: 'not yet' }[rule.health]}
    </span>
  );
}

const COLUMNS: Column<Row>[] = [
  { key: 'state', title: 'state', width: '96px', phone: 'side', cell: ({ rule }) => <State rule={rule} /> },
  {
    key: 'name',
    title: 'rule',
    width: 'minmax(0, 1.2fr)',
    phone: 'main',
    cell: ({ rule }) => (
      <span title={rule.name}>
        <b>{rule.name}</b>
      </span>
    ),
    compare: (a, b) => a.rule.name.localeCompare(b.rule.name),
  },
  {
    key: 'query',
    title: 'expression',
    width: 'minmax(0, 2fr)',
    cell: ({ rule }) => (
      <code className="ink2" title={rule.query}>
        {rule.query.replace(/\s+/g, ' ')}
      </code>
    ),
  },
  {
    key: 'for',
    title: 'for',
    width: '64px',
    number: true,
    cell: ({ rule }) => (rule.type === 'alerting' ? seconds(rule.duration) : ''),
    compare: (a, b) => duration(a) - duration(b),
  },
  {
    key: 'group',
    title: 'group',
    width: 'minmax(0, 160px)',
    phone: 'side',
    cell: ({ group }) => <span title={group.file}>{group.name}</span>,
    compare: (a, b) => a.group.name.localeCompare(b.group.name),
  },
  {
    key: 'evaluated',
    title: 'evaluated',
    width: '96px',
    number: true,
    cell: ({ rule }) => <Ago at={rule.lastEvaluation} />,
  },
  {
    key: 'took',
    title: 'took',
    width: '80px',
    number: true,
    cell: ({ rule }) => seconds(rule.evaluationTime),
    compare: (a, b) => a.rule.evaluationTime - b.rule.evaluationTime,
  },
];

function duration({ rule }: Row): number {
  return rule.type === 'alerting' ? rule.duration : -1;
}

function Detail({ row: { rule, group } }: { row: Row }) {
  return (
    <div className={classes.detail}>
      {rule.lastError && (
        <Notice tone="critical" fact="The last evaluation failed." reason={rule.lastError} />
      )}
      <pre>{rule.query}</pre>
      <p className={classes.links}>
        <Link to="/query" params={{ 'g0.expr': rule.query, 'g0.tab': 'graph' }}>
          Open the expression in Explore
        </Link>
        {rule.type === 'recording' && (
          <Link to="/query" params={{ 'g0.expr': rule.name, 'g0.tab': 'graph' }}>
            See what it records
          </Link>
        )}
        <span className="ink2">
          {group.file}, group {group.name}, each {seconds(group.interval)}
        </span>
      </p>
      <Pills labels={rule.labels} />
      {rule.type === 'alerting' && (
        <dl className={classes.words}>
          {Object.entries(rule.annotations).map(([name, text]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      )}
      {rule.type === 'alerting' &&
        (rule.alerts ?? []).slice(0, 50).map(alert => (
          <p key={fingerprint(alert.labels)}>
            <AlertBadge state={alert.state} severity={severityOf(alert.labels)} />{' '}
            <Link to={`/alerts/${fingerprint(alert.labels)}`}>{alert.labels.alertname}</Link>{' '}
            <Pills labels={alert.labels} without={['alertname']} />
          </p>
        ))}
    </div>
  );
}
