/** Where alerts are sent to. */
import { ask } from '../../api/client';
import { Answered, Notice } from '../../components/notice';
import { Bar, Page, Panel } from '../../components/page';
import { HealthBadge } from '../../components/state';
import { type Column, Table } from '../../components/table';
import { counted } from '../../format/number';
import { usePoll } from '../../live/poll';
import { Parts } from './tabs';

interface Destinations {
  activeAlertmanagers: { url: string }[];
  droppedAlertmanagers: { url: string }[];
}

interface Row {
  url: string;
  active: boolean;
}

const COLUMNS: Column<Row>[] = [
  {
    key: 'state',
    title: 'became',
    width: '104px',
    phone: 'side',
    cell: row => (
      <HealthBadge health={row.active ? 'up' : 'unknown'} word={row.active ? 'kept' : 'dropped'} />
    ),
  },
  { key: 'url', title: 'address', width: 'minmax(0, 1fr)', phone: 'main', cell: row => row.url },
];

export default function DestinationsPage() {
  const answer = usePoll({
    key: ['alertmanagers'],
    ask: async signal => (await ask<Destinations>('alertmanagers', { signal })).data,
    every: 15_000,
  });
  const active = answer.data?.activeAlertmanagers.length ?? 0;
  return (
    <Page
      title="Destinations"
      sentence={
        !answer.data
          ? 'Destinations'
          : active === 0
            ? 'No Alertmanager is told of alerts.'
            : `${counted(active, 'Alertmanager is', 'Alertmanagers are')} told of alerts.`
      }
    >
      <Bar>
        <Parts current="destinations" />
      </Bar>
      <Answered of={answer}>
        {data => {
          const rows = [
            ...data.activeAlertmanagers.map(({ url }) => ({ url, active: true })),
            ...data.droppedAlertmanagers.map(({ url }) => ({ url, active: false })),
          ];
          if (rows.length === 0)
            return (
              <Notice
                fact="No Alertmanager is configured."
                reason="Alerts may still go to webhooks, or to the Alertmanager inside."
                next="alerting in the configuration says where they go."
              />
            );
          return (
            <Panel flush>
              <Table label="Alertmanagers" columns={COLUMNS} rows={rows} rowKey={row => row.url} main />
            </Panel>
          );
        }}
      </Answered>
    </Page>
  );
}
