/** A query at one time, as a table. */
import { ActionIcon, Button } from '@mantine/core';
import { useMemo } from 'react';
import { queryAt, SERIES_MAX } from '../../api/prometheus';
import type { QueryData, Sample } from '../../api/types';
import { CopyButton, download } from '../../components/copy';
import { IconChevronLeft, IconChevronRight, IconDownload } from '../../components/icons';
import { Answered } from '../../components/notice';
import { Pills } from '../../components/pill';
import { type Column, Table } from '../../components/table';
import { keyOf, type Labels, series, sharedLabels } from '../../format/labels';
import { count } from '../../format/number';
import { moment } from '../../format/time';
import { type Unit, value } from '../../format/unit';
import { usePoll } from '../../live/poll';
import { useSettings } from '../../store/local';
import type { Panel } from '../../url/explore';
import { Empty } from './empty';
import classes from './explore.module.css';
import { Facts } from './facts';
import type { PanelProps } from './panel';
import { useUnit } from './use-unit';

interface Row {
  labels: Labels;
  /** The API's own digits, for copying. */
  text: string;
  number: number;
}

export function TableTab(props: PanelProps) {
  const { panel, now } = props;
  const { zone } = useSettings();
  const at = panel.moment ?? panel.end;
  const answer = usePoll({
    key: ['instant', panel.expr, at, now],
    ask: signal => queryAt(panel.expr, at, signal),
  });
  return (
    <Answered of={answer} rows={8}>
      {({ data, warnings, infos }) => (
        <>
          <Facts
            data={data}
            warnings={warnings}
            infos={infos}
            note={`at ${moment(at ?? answer.dataUpdatedAt, zone)}`}
          />
          <Rows {...props} data={data} />
        </>
      )}
    </Answered>
  );
}

function Rows({ data, panel, now, onChange, onOpen }: PanelProps & { data: QueryData }) {
  const unit = useUnit(panel.expr, panel.unit);
  const { zone } = useSettings();
  const rows = useMemo(() => rowsOf(data), [data]);
  const shared = useMemo(() => sharedLabels(rows.map(row => row.labels)), [rows]);
  const columns = useMemo(() => columnsOf(rows, shared, unit, zone), [rows, shared, unit, zone]);
  if (rows.length === 0)
    return (
      <Empty
        panel={panel}
        grid={{ start: now - panel.range, end: now, step: 60_000 }}
        onChange={onChange}
        onOpen={onOpen}
      />
    );
  const csv = () =>
    download(
      'query.csv',
      'text/csv',
      ['series,value', ...rows.map(row => `"${series(row.labels).replace(/"/g, '""')}",${row.text}`)].join(
        '\n',
      ),
    );
  return (
    <>
      <div className={classes.choices}>
        <At panel={panel} now={now} onChange={onChange} />
        {Object.keys(shared).length > 0 && (
          <span>
            <span className="ink3">all have</span> <Pills labels={shared} />
          </span>
        )}
        <span className={classes.gap} />
        <ActionIcon aria-label="Download as CSV" title="Download as CSV" onClick={csv}>
          <IconDownload size={16} stroke={1.75} />
        </ActionIcon>
      </div>
      <Table
        label="Result"
        columns={columns}
        rows={rows}
        rowKey={row => keyOf(row.labels) + row.text}
        sort={panel.sort}
        onSort={sort => onChange({ sort }, { replace: true })}
        main
      />
      {rows.length >= SERIES_MAX && (
        <p className={classes.cut}>
          The first {count(SERIES_MAX)} series. Narrow the query down to see others.
        </p>
      )}
    </>
  );
}

/** When the table is asked: a step of the range back or on. */
function At({ panel, now, onChange }: { panel: Panel; now: number; onChange: PanelProps['onChange'] }) {
  const { zone } = useSettings();
  const at = panel.moment ?? panel.end;
  const move = (by: number) => {
    const next = Math.round((at ?? now) + by * (panel.range / 4));
    onChange({ moment: next >= now ? undefined : next });
  };
  return (
    <span className={classes.at}>
      <ActionIcon aria-label="Earlier" onClick={() => move(-1)}>
        <IconChevronLeft size={16} stroke={1.75} />
      </ActionIcon>
      <Button onClick={() => onChange({ moment: undefined, end: undefined })}>
        {at === undefined ? 'now' : moment(at, zone)}
      </Button>
      <ActionIcon aria-label="Later" disabled={at === undefined} onClick={() => move(1)}>
        <IconChevronRight size={16} stroke={1.75} />
      </ActionIcon>
    </span>
  );
}

function columnsOf(rows: readonly Row[], shared: Labels, unit: Unit, zone: 'local' | 'UTC'): Column<Row>[] {
  const names = [...new Set(rows.flatMap(row => Object.keys(row.labels)))].filter(name => !(name in shared));
  // A column for each label as long as they can be read beside each other.
  const cells: Column<Row>[] =
    names.length > 0 && names.length <= 6
      ? names.map((name, index) => ({
          key: name,
          title: name === '__name__' ? 'metric' : name,
          width: 'minmax(80px, 1fr)',
          cell: row => row.labels[name] ?? <span className="ink3">–</span>,
          compare: (a, b) =>
            (a.labels[name] ?? '').localeCompare(b.labels[name] ?? '', undefined, { numeric: true }),
          phone: index === 0 ? ('main' as const) : ('side' as const),
        }))
      : [
          {
            key: 'series',
            title: 'series',
            width: 'minmax(0, 1fr)',
            cell: row => (
              <span className="mono" title={series(row.labels)}>
                {series(row.labels, new Set(Object.keys(shared)))}
              </span>
            ),
            compare: (a, b) => series(a.labels).localeCompare(series(b.labels)),
            phone: 'main' as const,
          },
        ];
  return [
    ...cells,
    {
      key: 'value',
      title: 'value',
      width: 'minmax(96px, max-content)',
      number: true,
      cell: row => (
        <b title={row.text}>
          {Number.isNaN(row.number) && row.text !== 'NaN' ? row.text : value(row.number, unit, zone)}
        </b>
      ),
      compare: (a, b) => a.number - b.number,
      phone: 'side',
    },
    {
      key: 'copy',
      title: '',
      width: '32px',
      cell: row => <CopyButton text={row.text} label="Copy the value" />,
    },
  ];
}

function rowsOf(data: QueryData): Row[] {
  switch (data.resultType) {
    case 'vector':
      return data.result.map(item => rowOf(item.metric, item.value, item.histogram?.[1]));
    case 'matrix':
      return data.result.map(item => rowOf(item.metric, item.values?.at(-1), item.histograms?.at(-1)?.[1]));
    default:
      return [rowOf({}, data.result)];
  }
}

function rowOf(labels: Labels, sample: Sample | undefined, histogram?: { count: string; sum: string }): Row {
  const text = sample ? sample[1] : histogram ? `count ${histogram.count}, sum ${histogram.sum}` : '';
  return { labels, text, number: Number(text.replace('Inf', 'Infinity')) };
}
