/** One alert: what is so, since when, how bad; its graph, its rule, what to do. */
import { Button } from '@mantine/core';
import { useMemo } from 'react';
import { queryRange } from '../../api/prometheus';
import { copy } from '../../components/copy';
import { IconBellOff, IconCopy, IconExternalLink } from '../../components/icons';
import { Answered, Notice, Skeleton } from '../../components/notice';
import { Page, Panel } from '../../components/page';
import { Pills } from '../../components/pill';
import { AlertBadge, SeverityWord } from '../../components/state';
import { For, Moment } from '../../components/times';
import { type Labels, writeMatchers } from '../../format/labels';

import { rough, seconds } from '../../format/time';
import { value } from '../../format/unit';
import { usePoll } from '../../live/poll';
import { aligned, autoStep } from '../../url/explore';
import { Link } from '../../url/link';
import { href, navigate } from '../../url/location';
import { useUnit } from '../explore/use-unit';
import { AlertGraph } from './alert-graph';
import { useAlerts } from './alerts';
import classes from './alerts.module.css';
import { type Origin, originOf, type SeenAlert, thresholdOf, words } from './model';

export default function AlertPage({ fingerprint }: { fingerprint: string }) {
  const answer = useAlerts();
  const alert = answer.data?.alerts.find(one => one.fingerprint === fingerprint);
  const origin = usePoll({
    key: ['origin', fingerprint],
    ask: signal => originOf(alert?.labels ?? {}, signal),
    every: 15_000,
    enabled: alert !== undefined,
  });
  if (!answer.data) {
    return (
      <Page title="Alert" sentence="Alert">
        {answer.error ? <Answered of={answer}>{() => null}</Answered> : <Skeleton rows={10} />}
      </Page>
    );
  }
  if (!alert) return <Gone />;
  return <Shown alert={alert} origin={origin.data} hasAlertmanager={answer.data.hasAlertmanager} />;
}

function Gone() {
  return (
    <Page title="Alert" sentence="This alert is over.">
      <Notice
        fact="No rule raises it now."
        reason="It was resolved, or its rule or labels were changed."
        next={<Link to="/alerts">See what is firing</Link>}
      />
    </Page>
  );
}

function Shown({
  alert,
  origin,
  hasAlertmanager,
}: {
  alert: SeenAlert;
  origin: Origin | undefined;
  hasAlertmanager: boolean;
}) {
  const name = alert.labels.alertname ?? '';
  const query = origin?.rule.query;
  const threshold = useMemo(() => (query === undefined ? undefined : thresholdOf(query)), [query]);
  const unit = useUnit(threshold?.left ?? origin?.rule.query ?? '', '');
  const runbook = runbookOf(alert.annotations);
  return (
    <Page
      reach
      title={name}
      badge={alert.state === 'firing' ? 1 : undefined}
      sentence={words(alert)}
      actions={<Actions alert={alert} runbook={runbook} hasAlertmanager={hasAlertmanager} />}
    >
      <p className={classes.how}>
        <AlertBadge state={alert.state} severity={alert.severity} />
        <SeverityWord labels={alert.labels} />
        <b>{name}</b>
        <span>
          <b>{value(alert.value, unit)}</b>
          {threshold && ` ${threshold.op} ${value(threshold.value, unit)}`}
        </span>
        <span>
          for <For from={alert.since} />, since <Moment at={alert.since} />
        </span>
        {alert.receivers.length > 0 && <span>told {alert.receivers.join(', ')}</span>}
      </p>
      {origin && (
        <Panel>
          <AlertGraph alert={alert} origin={origin} threshold={threshold} unit={unit} />
        </Panel>
      )}
      <div className={classes.columns}>
        <Panel title="What it says">
          <Words alert={alert} />
        </Panel>
        <Panel title="When">
          <Times alert={alert} origin={origin} />
        </Panel>
      </div>
      {origin && (
        <Panel title="Its rule">
          <pre className={classes.query}>{origin.rule.query}</pre>
          <p className="ink2">
            Group {origin.group.name} in {origin.group.file}, each {seconds(origin.group.interval)}; fires
            after {seconds(origin.rule.duration)}.{' '}
            <Link to="/query" params={{ 'g0.expr': origin.rule.query, 'g0.tab': 'graph' }}>
              Open in Explore
            </Link>
          </p>
        </Panel>
      )}
    </Page>
  );
}

/** Links of annotations lead to pages, never to scripts. */
export function runbookOf(annotations: Labels): string | undefined {
  const found = annotations.runbook_url ?? annotations.runbook ?? annotations.playbook;
  return found && /^https?:\/\//i.test(found) ? found : undefined;
}

function Actions({
  alert,
  runbook,
  hasAlertmanager,
}: {
  alert: SeenAlert;
  runbook: string | undefined;
  hasAlertmanager: boolean;
}) {
  const filter = `{${writeMatchers(Object.entries(alert.labels).map(([name, value]) => ({ name, op: '=' as const, value })))}}`;
  const markdown = () =>
    `**${alert.labels.alertname}** ${alert.state}: ${words(alert)}\n\n${window.location.href}`;
  return (
    <>
      <Button leftSection={<IconCopy size={16} stroke={1.75} />} onClick={() => copy(markdown())}>
        Copy as Markdown
      </Button>
      {runbook && (
        <Button
          component="a"
          href={runbook}
          target="_blank"
          rel="noreferrer"
          leftSection={<IconExternalLink size={16} stroke={1.75} />}
        >
          Runbook
        </Button>
      )}
      <Button
        variant="filled"
        leftSection={<IconBellOff size={16} stroke={1.75} />}
        disabled={!hasAlertmanager}
        title={
          hasAlertmanager ? undefined : 'No Alertmanager is inside: start with --alertmanager.config.file.'
        }
        onClick={() => navigate(href('/notifications/silences/new', { filter }))}
      >
        Silence
      </Button>
    </>
  );
}

function Words({ alert }: { alert: SeenAlert }) {
  return (
    <dl className={classes.words}>
      {Object.entries(alert.annotations).map(([name, text]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{text}</dd>
        </div>
      ))}
      <div>
        <dt>labels</dt>
        <dd>
          <Pills labels={alert.labels} />
        </dd>
      </div>
    </dl>
  );
}

const DAY = 86_400_000;

function Times({ alert, origin }: { alert: SeenAlert; origin: Origin | undefined }) {
  const fired = origin ? alert.since + origin.rule.duration * 1000 : undefined;
  const before = usePoll({
    key: ['before', alert.fingerprint],
    ask: signal => firedBefore(alert.labels, signal),
    every: 60_000,
  });
  return (
    <dl className={classes.words}>
      <div>
        <dt>pending</dt>
        <dd>
          <Moment at={alert.since} />
        </dd>
      </div>
      {fired !== undefined && (
        <div>
          <dt>{alert.state === 'pending' ? 'will fire' : 'fired'}</dt>
          <dd>
            <Moment at={fired} />
          </dd>
        </div>
      )}
      {before.data && (
        <div>
          <dt>last 24 h</dt>
          <dd>
            fired {before.data.times === 1 ? 'once' : `${before.data.times} times`}
            {before.data.median > 0 && `, ${rough(before.data.median)} each in the median`}
          </dd>
        </div>
      )}
    </dl>
  );
}

/** How often it has fired in a day, and how long. */
async function firedBefore(labels: Labels, signal: AbortSignal): Promise<{ times: number; median: number }> {
  const step = autoStep(DAY, 2880);
  const { start, end } = aligned(Date.now(), DAY, step);
  const own = Object.entries(labels).map(([name, text]) => ({ name, op: '=' as const, value: text }));
  const query = `ALERTS{${writeMatchers([...own, { name: 'alertstate', op: '=', value: 'firing' }])}}`;
  const { data } = await queryRange(query, { start, end, step }, signal);
  const times = data.resultType === 'matrix' ? (data.result[0]?.values ?? []).map(([at]) => at * 1000) : [];
  return lengths(times, step);
}

/** Times that follow each other by a step are one firing. */
export function lengths(times: readonly number[], step: number): { times: number; median: number } {
  const runs: number[] = [];
  for (const [index, at] of times.entries()) {
    const before = times[index - 1];
    if (before !== undefined && at - before <= step) runs[runs.length - 1] = (runs.at(-1) ?? 0) + step;
    else runs.push(step);
  }
  const sorted = [...runs].sort((a, b) => a - b);
  return { times: runs.length, median: sorted[Math.floor(sorted.length / 2)] ?? 0 };
}
