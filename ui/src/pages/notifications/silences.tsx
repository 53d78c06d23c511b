/** Silences: which are in force, what each keeps quiet, and until when. */
import { Button, SegmentedControl } from '@mantine/core';
import { useMemo, useState } from 'react';
import { amAlerts, expireSilence, silences } from '../../api/alertmanager';
import { ApiError } from '../../api/client';
import type { Silence } from '../../api/types';
import { FilterBox } from '../../components/filter';
import { IconPlus } from '../../components/icons';
import { Answered, Failure, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { type Column, Table } from '../../components/table';
import { Moment, ms } from '../../components/times';
import { counted } from '../../format/number';
import { relative } from '../../format/time';
import { useNow } from '../../live/clock';
import { queryClient, usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { href, navigate } from '../../url/location';
import { useChoice, useParam } from '../../url/params';
import classes from './notifications.module.css';
import { hits, text, toMatchers } from './silence-model';
import { OFF, Parts } from './tabs';

const EVERY = 10_000;
const STATES = ['active', 'pending', 'expired'] as const;
const HOUR = 3_600_000;

export default function Silences() {
  const answer = usePoll({ key: ['silences'], ask: silences, every: EVERY });
  const isOff = answer.error instanceof ApiError && answer.error.kind === 'not_found';
  const active = (answer.data ?? []).filter(silence => silence.status.state === 'active');
  return (
    <Page
      title="Silences"
      sentence={
        isOff ? 'Nothing can be silenced here.' : answer.data ? <Sentence active={active} /> : 'Silences'
      }
      actions={
        !isOff && (
          <Button
            variant="filled"
            leftSection={<IconPlus size={16} stroke={1.75} />}
            onClick={() => navigate(href('/notifications/silences/new'))}
          >
            New silence
          </Button>
        )
      }
    >
      <Bar>
        <Parts current="silences" />
      </Bar>
      {isOff ? (
        <Notice fact={OFF.fact} reason={OFF.reason} next={OFF.next} />
      ) : (
        <Answered of={answer}>{all => <List all={all} />}</Answered>
      )}
    </Page>
  );
}

function Sentence({ active }: { active: readonly Silence[] }) {
  const now = useNow();
  const soon = active.filter(silence => ms(silence.endsAt) - now < HOUR).length;
  if (active.length === 0) return 'No silence is in force.';
  return `${counted(active.length, 'silence')} in force${soon > 0 ? `, ${soon} of them for less than an hour` : ''}.`;
}

function List({ all }: { all: readonly Silence[] }) {
  const [state, setState] = useChoice('state', STATES);
  const [filter, setFilter] = useParam('filter', '', true);
  const [failed, setFailed] = useState<unknown>();
  const [ended, setEnded] = useState<Silence>();
  const alerts = usePoll({ key: ['am alerts'], ask: signal => amAlerts([], signal), every: EVERY });
  const shown = useMemo(() => {
    const part = filter.trim().toLowerCase();
    const those = all.filter(
      silence =>
        silence.status.state === state &&
        `${text(silence)} ${silence.comment} ${silence.createdBy}`.toLowerCase().includes(part),
    );
    return those.sort((a, b) => ms(a.endsAt) - ms(b.endsAt));
  }, [all, state, filter]);
  const end = async (silence: Silence) => {
    try {
      await expireSilence(silence.id);
      setEnded(silence);
      await queryClient.invalidateQueries({ queryKey: ['silences'] });
    } catch (error) {
      setFailed(error);
    }
  };
  return (
    <>
      <Bar>
        <SegmentedControl
          aria-label="State"
          data={STATES.map(value => ({
            value,
            label: `${value} (${all.filter(one => one.status.state === value).length})`,
          }))}
          value={state}
          onChange={value => setState(value as (typeof STATES)[number])}
        />
        <FilterBox
          label="Filter silences"
          placeholder="matcher, reason, author"
          value={filter}
          onChange={setFilter}
        />
      </Bar>
      {failed !== undefined && <Failure error={failed} />}
      {ended && (
        <Notice
          fact={`Ended: ${text(ended)}`}
          next={
            <Link to="/notifications/silences/new" params={{ filter: text(ended), comment: ended.comment }}>
              Silence it again
            </Link>
          }
        />
      )}
      {shown.length === 0 ? (
        <Notice
          fact={filter === '' ? `No silence is ${state}.` : 'No silence is shown.'}
          reason={filter === '' ? undefined : 'They are left out by the filter above.'}
        />
      ) : (
        <Panel flush>
          <Table
            label="Silences"
            columns={columnsOf(alerts.data ?? [], end)}
            rows={shown}
            rowKey={silence => silence.id}
            main
            onOpen={silence => navigate(href(`/notifications/silences/${silence.id}`))}
          />
        </Panel>
      )}
    </>
  );
}

function columnsOf(
  alerts: readonly { labels: Record<string, string> }[],
  end: (silence: Silence) => void,
): Column<Silence>[] {
  return [
    {
      key: 'matchers',
      title: 'silences',
      width: 'minmax(0, 2fr)',
      phone: 'main',
      cell: silence => (
        <Link to={`/notifications/silences/${silence.id}`} className={classes.matchers} title={text(silence)}>
          {text(silence)}
        </Link>
      ),
    },
    {
      key: 'hits',
      title: 'hits now',
      width: '72px',
      number: true,
      phone: 'side',
      cell: silence =>
        silence.status.state === 'active' ? hits(alerts, toMatchers(silence.matchers)).length : '',
    },
    {
      key: 'ends',
      title: 'ends',
      width: '104px',
      phone: 'side',
      cell: silence => <Ends silence={silence} />,
    },
    {
      key: 'why',
      title: 'why',
      width: 'minmax(0, 1.5fr)',
      cell: silence => <span title={silence.comment}>{silence.comment}</span>,
    },
    { key: 'by', title: 'by', width: 'minmax(0, 120px)', phone: 'side', cell: silence => silence.createdBy },
    {
      key: 'end',
      title: '',
      width: '64px',
      cell: silence =>
        silence.status.state !== 'expired' && (
          <button type="button" className={classes.inline} onClick={() => end(silence)}>
            end it
          </button>
        ),
    },
  ];
}

function Ends({ silence }: { silence: Silence }) {
  const now = useNow();
  const at = silence.status.state === 'pending' ? silence.startsAt : silence.endsAt;
  return (
    <span title={at}>
      {silence.status.state === 'pending' && 'begins '}
      {relative(ms(at), now)}
      <span className="unseen">
        {' '}
        <Moment at={at} />
      </span>
    </span>
  );
}
