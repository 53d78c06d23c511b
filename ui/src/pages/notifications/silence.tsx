/** One silence, new or there already: what it hits is seen before it is saved. */
import { Button, TextInput } from '@mantine/core';
import { useMemo, useState } from 'react';
import { amAlerts, saveSilence, silence as silenceOf } from '../../api/alertmanager';
import type { Silence } from '../../api/types';
import { CopyButton } from '../../components/copy';
import { Answered, Failure, Notice } from '../../components/notice';
import { Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { For, Moment, ms } from '../../components/times';
import { parseMatchers, writeMatchers } from '../../format/labels';
import { counted } from '../../format/number';
import { moment, parseDuration, parseTime, writeTime } from '../../format/time';
import { queryClient, usePoll } from '../../live/poll';
import { set, settings, useSettings } from '../../store/local';
import { Link } from '../../url/link';
import { here, href, navigate } from '../../url/location';
import classes from './notifications.module.css';
import { fromMatchers, hits, mondayMorning, takesAll, toMatchers } from './silence-model';

export default function SilencePage({ id }: { id?: string }) {
  if (id === undefined) return <New />;
  return <Known key={id} id={id} />;
}

function New() {
  const { params } = here();
  return <Form matchers={params.get('filter') ?? ''} comment={params.get('comment') ?? ''} />;
}

function Known({ id }: { id: string }) {
  const answer = usePoll({ key: ['silence', id], ask: signal => silenceOf(id, signal) });
  if (!answer.data) {
    return (
      <Page title="Silence" sentence="Silence">
        <Answered of={answer}>{() => null}</Answered>
      </Page>
    );
  }
  return (
    <Form
      silence={answer.data}
      matchers={writeMatchers(toMatchers(answer.data.matchers))}
      comment={answer.data.comment}
    />
  );
}

const LENGTHS = ['30m', '2h', '8h', '1d'];

function Form({ silence, matchers, comment }: { silence?: Silence; matchers: string; comment: string }) {
  const { zone } = useSettings();
  const [text, setText] = useState(matchers.replace(/^\{|\}$/g, ''));
  const [why, setWhy] = useState(comment);
  const [by, setBy] = useState(silence?.createdBy ?? settings().author);
  const isOver = silence?.status.state === 'expired';
  const [until, setUntil] = useState(silence && !isOver ? silence.endsAt : '2h');
  const [failed, setFailed] = useState<unknown>();
  const [sure, setSure] = useState('');
  const read = useMemo(() => parseMatchers(text), [text]);
  const alerts = usePoll({ key: ['am alerts'], ask: signal => amAlerts([], signal), every: 10_000 });
  const hit = read ? hits(alerts.data ?? [], read) : [];
  const end = endOf(until, Date.now());
  const isAll = read !== undefined && read.length > 0 && takesAll(read);
  const missing =
    !read || read.length === 0
      ? 'Say what is silenced.'
      : end === undefined
        ? 'Say until when.'
        : why.trim() === ''
          ? 'Say why.'
          : by.trim() === ''
            ? 'Say who you are.'
            : isAll && sure !== 'all'
              ? 'Type “all” to silence everything.'
              : '';
  const save = async () => {
    if (!read || end === undefined) return;
    set({ author: by.trim() });
    try {
      await saveSilence({
        ...(silence && !isOver ? { id: silence.id } : {}),
        matchers: fromMatchers(read),
        startsAt: silence && !isOver ? silence.startsAt : new Date().toISOString(),
        endsAt: new Date(end).toISOString(),
        createdBy: by.trim(),
        comment: why.trim(),
      });
      await queryClient.invalidateQueries({ queryKey: ['silences'] });
      navigate(href('/notifications/silences'));
    } catch (error) {
      setFailed(error);
    }
  };
  const label = silence && !isOver ? 'Save' : `Silence ${counted(hit.length, 'alert')}`;
  return (
    <Page
      title={silence ? 'Silence' : 'New silence'}
      sentence={silence ? `This silence is ${silence.status.state}.` : 'What shall be quiet, and until when?'}
      actions={
        <>
          <Button onClick={() => window.history.back()}>Cancel</Button>
          <Button
            variant="filled"
            disabled={missing !== ''}
            title={missing === '' ? undefined : missing}
            onClick={save}
          >
            {label}
          </Button>
        </>
      }
    >
      {failed !== undefined && <Failure error={failed} />}
      <div className={classes.form}>
        <Panel title="Silence">
          <div className={classes.fields}>
            <TextInput
              label="Alerts with"
              placeholder={'alertname="HighLatency", job=~"api|web"'}
              value={text}
              error={read ? undefined : 'Not matchers: name="value", with commas between them'}
              onChange={event => setText(event.currentTarget.value)}
              spellCheck={false}
            />
            <div>
              <div className={classes.lengths}>
                {LENGTHS.map(length => (
                  <Button key={length} aria-pressed={until === length} onClick={() => setUntil(length)}>
                    {length}
                  </Button>
                ))}
                <Button aria-pressed={until === 'monday'} onClick={() => setUntil('monday')}>
                  till Mon 09:00
                </Button>
              </div>
              <TextInput
                label="Until: a length, or a time (UTC)"
                value={until === 'monday' ? writeTime(mondayMorning(Date.now())) : until}
                error={end === undefined ? 'Such as 2h, or 2026-11-30 14:05' : undefined}
                description={end === undefined ? undefined : `ends ${moment(end, zone)}`}
                onChange={event => setUntil(event.currentTarget.value)}
              />
            </div>
            <TextInput label="Why" value={why} onChange={event => setWhy(event.currentTarget.value)} />
            <TextInput label="By" value={by} onChange={event => setBy(event.currentTarget.value)} />
            {isAll && (
              <TextInput
                label="This takes all alerts. Type “all” if that is meant."
                value={sure}
                onChange={event => setSure(event.currentTarget.value)}
              />
            )}
            {missing !== '' && <p className="ink2">{missing}</p>}
          </div>
        </Panel>
        <Panel
          title={`Hits ${hit.length} of ${alerts.data?.length ?? 0} now`}
          actions={
            <CopyButton
              text={`amtool silence add ${read ? read.map(matcher => `'${writeMatchers([matcher])}'`).join(' ') : ''} --comment='${why.replace(/'/g, "'\\''")}'`}
              label="Copy as a command of amtool"
            />
          }
        >
          <Answered of={alerts} rows={4}>
            {() =>
              hit.length === 0 ? (
                <Notice
                  fact="It hits nothing now."
                  reason="Alerts that come later are silenced all the same."
                />
              ) : (
                <ul className={classes.hits}>
                  {hit.slice(0, 100).map(alert => (
                    <li key={alert.fingerprint}>
                      <b>{alert.labels.alertname}</b> <For from={alert.startsAt} />{' '}
                      <Pills labels={alert.labels} without={['alertname']} />
                    </li>
                  ))}
                </ul>
              )
            }
          </Answered>
        </Panel>
      </div>
      {silence && (
        <p className="ink2">
          Since <Moment at={ms(silence.startsAt)} />, changed <Moment at={ms(silence.updatedAt)} />.{' '}
          <Link to="/notifications/silences">All silences</Link>
        </p>
      )}
    </Page>
  );
}

/** When a silence ends that is meant to last so long, or until then; nothing where it cannot be read or is over. */
export function endOf(until: string, now: number): number | undefined {
  if (until === 'monday') return mondayMorning(now);
  const length = /^\d+$/.test(until.trim()) ? undefined : parseDuration(until);
  const end = length === undefined ? parseTime(until) : now + length;
  return end !== undefined && end > now ? end : undefined;
}
