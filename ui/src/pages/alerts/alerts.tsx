/** Alerts: what burns first. */
import { Button, NativeSelect } from '@mantine/core';
import { useMemo } from 'react';
import { FilterBox } from '../../components/filter';
import { legendFilter } from '../../components/graph/legend';
import { IconBellOff } from '../../components/icons';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { AlertBadge, SeverityWord } from '../../components/state';
import { type Column, Table } from '../../components/table';
import { For, Since } from '../../components/times';
import { parseMatchers, sharedLabels, writeMatchers } from '../../format/labels';
import { counted, number } from '../../format/number';
import { usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { here, href, navigate } from '../../url/location';
import { useChoice, useParam } from '../../url/params';
import classes from './alerts.module.css';
import { byNeed, type Seen, type SeenAlert, see, words } from './model';

const EVERY = 5000;
const STATES = ['active', 'all', 'firing', 'pending', 'unknown', 'silenced', 'inhibited'] as const;
/** Labels that stand in columns of their own. */
const TOLD = ['alertname', 'severity'];

export function useAlerts() {
  return usePoll({ key: ['alerts'], ask: see, every: EVERY });
}

export default function Alerts() {
  const answer = useAlerts();
  const [state, setState] = useChoice('state', STATES);
  const [filter, setFilter] = useParam('filter', '', true);
  const [search] = useParam('search');
  const seen = answer.data;
  const shown = useMemo(
    () =>
      (seen?.alerts ?? [])
        .filter(inState(state))
        .filter(legendFilter(filter || search))
        .sort(byNeed),
    [seen, state, filter, search],
  );
  const needing = (seen?.alerts ?? []).filter(needsSomebody);
  return (
    <Page
      title="Alerts"
      badge={needing.length}
      sentence={seen ? <Sentence seen={seen} /> : 'Alerts'}
      actions={
        seen && shown.length > 0 && <SilenceShown shown={shown} hasAlertmanager={seen.hasAlertmanager} />
      }
    >
      <Bar>
        <FilterBox
          label="Filter alerts"
          placeholder={'text, or {job="api"}'}
          value={filter || search}
          onChange={setFilter}
        />
        <NativeSelect
          aria-label="State"
          data={STATES.map(value => ({ value, label: value === 'active' ? 'active (not silenced)' : value }))}
          value={state}
          onChange={event => setState(event.currentTarget.value as (typeof STATES)[number])}
        />
      </Bar>
      <Answered of={answer} rows={8}>
        {data => <List all={data} shown={shown} onFilter={setFilter} filter={filter} />}
      </Answered>
    </Page>
  );
}

function inState(state: (typeof STATES)[number]): (alert: SeenAlert) => boolean {
  if (state === 'all') return () => true;
  if (state === 'active') return alert => !['silenced', 'inhibited', 'muted'].includes(alert.state);
  return alert => alert.state === state;
}

export function needsSomebody(alert: SeenAlert): boolean {
  return alert.state === 'firing' || alert.state === 'unknown';
}

function Sentence({ seen }: { seen: Seen }) {
  const needing = seen.alerts.filter(needsSomebody);
  const pending = seen.alerts.filter(alert => alert.state === 'pending').length;
  if (needing.length === 0)
    return pending > 0 ? `Nothing is firing; ${counted(pending, 'alert')} pending.` : 'Nothing is firing.';
  const groups = (['critical', 'warning', 'info', 'none'] as const)
    .map(severity => ({ severity, those: needing.filter(alert => alert.severity === severity) }))
    .filter(({ those }) => those.length > 0);
  return (
    <>
      {counted(needing.length, 'alert needs somebody', 'alerts need somebody')}:{' '}
      {groups.map(({ severity, those }, index) => (
        <span key={severity}>
          {index > 0 && ', '}
          {those.length} {severity === 'none' ? 'without severity' : severity}
          {index === 0 && (
            <>
              {' '}
              since <Since at={Math.min(...those.map(alert => alert.since))} />
            </>
          )}
        </span>
      ))}
      .
    </>
  );
}

function List({
  all,
  shown,
  filter,
  onFilter,
}: {
  all: Seen;
  shown: SeenAlert[];
  filter: string;
  onFilter: (text: string) => void;
}) {
  const columns = useMemo<Column<SeenAlert>[]>(
    () => [
      {
        key: 'state',
        title: 'state',
        width: '104px',
        phone: 'side',
        cell: alert => <AlertBadge state={alert.state} severity={alert.severity} />,
      },
      {
        key: 'alert',
        title: 'alert',
        width: 'minmax(0, 2fr)',
        phone: 'main',
        cell: alert => (
          <span title={words(alert)}>
            <Link to={`/alerts/${alert.fingerprint}`} className={classes.name}>
              {alert.labels.alertname}
            </Link>{' '}
            <span className="ink2">{words(alert)}</span>
          </span>
        ),
      },
      {
        key: 'severity',
        title: 'severity',
        width: '80px',
        phone: 'side',
        cell: alert => <SeverityWord labels={alert.labels} />,
      },
      {
        key: 'labels',
        title: 'labels',
        width: 'minmax(0, 1.5fr)',
        cell: alert => (
          <Pills
            labels={alert.labels}
            without={TOLD}
            onFilter={matcher => onFilter(added(filter, writeMatchers([matcher])))}
          />
        ),
      },
      { key: 'value', title: 'value', width: '80px', number: true, cell: alert => number(alert.value) },
      {
        key: 'since',
        title: 'for',
        width: '64px',
        number: true,
        phone: 'side',
        cell: alert => <For from={alert.since} />,
      },
      {
        key: 'told',
        title: 'told',
        width: 'minmax(0, 120px)',
        cell: alert => alert.receivers.join(', ') || <span className="ink3">–</span>,
      },
    ],
    [filter, onFilter],
  );
  if (all.alerts.length === 0)
    return (
      <Notice
        fact="Nothing is firing, and nothing is pending."
        next={<Link to="/rules">See the rules that watch</Link>}
      />
    );
  if (shown.length === 0)
    return (
      <Notice
        fact={`None of ${counted(all.alerts.length, 'alert')} is shown.`}
        reason="They are left out by the filter or the state above."
        next={
          <Link to="/alerts" params={{ state: 'all' }}>
            Show all
          </Link>
        }
      />
    );
  return (
    <Panel flush>
      <Table
        label="Alerts"
        columns={columns}
        rows={shown}
        rowKey={alert => alert.fingerprint}
        main
        onOpen={alert => navigate(href(`/alerts/${alert.fingerprint}`))}
      />
    </Panel>
  );
}

/** A matcher beside those that are there; plain text gives way. */
function added(filter: string, matcher: string): string {
  const known = parseMatchers(filter);
  return known && known.length > 0 ? `${writeMatchers(known)}, ${matcher}` : matcher;
}

function SilenceShown({ shown, hasAlertmanager }: { shown: SeenAlert[]; hasAlertmanager: boolean }) {
  // The filter where it is one, else what all have alike.
  const typed = parseMatchers(here().params.get('filter') ?? '');
  const shared =
    shown.length === 1 ? (shown[0]?.labels ?? {}) : sharedLabels(shown.map(alert => alert.labels));
  const filter =
    typed && typed.length > 0
      ? writeMatchers(typed)
      : writeMatchers(Object.entries(shared).map(([name, value]) => ({ name, op: '=' as const, value })));
  const isOff = !hasAlertmanager || filter === '';
  const why = hasAlertmanager
    ? 'What is shown has nothing alike: filter first.'
    : 'No Alertmanager is inside: start with --alertmanager.config.file.';
  return (
    <Button
      leftSection={<IconBellOff size={16} stroke={1.75} />}
      disabled={isOff}
      title={isOff ? why : undefined}
      onClick={() => navigate(href('/notifications/silences/new', { filter: `{${filter}}` }))}
    >
      Silence what is shown
    </Button>
  );
}
