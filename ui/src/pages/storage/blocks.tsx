/** Blocks on a line of time, and what they hold. */
import type { Block, TsdbStatus } from '../../api/types';
import { type Column, Table } from '../../components/table';
import { Moment } from '../../components/times';
import { counted, number } from '../../format/number';
import { moment, rough } from '../../format/time';
import { useSettings } from '../../store/local';
import classes from './storage.module.css';

const COLUMNS: Column<Block>[] = [
  {
    key: 'from',
    title: 'from',
    width: 'minmax(0, 1fr)',
    phone: 'main',
    cell: block => <Moment at={block.minTime} />,
  },
  {
    key: 'covers',
    title: 'covers',
    width: '72px',
    number: true,
    phone: 'side',
    cell: block => rough(block.maxTime - block.minTime),
  },
  {
    key: 'series',
    title: 'series',
    width: '88px',
    number: true,
    phone: 'side',
    cell: block => number(block.stats.numSeries),
  },
  {
    key: 'samples',
    title: 'samples',
    width: '88px',
    number: true,
    phone: 'side',
    cell: block => number(block.stats.numSamples),
  },
  {
    key: 'level',
    title: 'merged',
    width: '72px',
    number: true,
    cell: block => `${block.compaction.level - 1}×`,
  },
  { key: 'ulid', title: 'name', width: 'minmax(0, 1fr)', cell: block => <code>{block.ulid}</code> },
];

export function Blocks({ blocks, head }: { blocks: readonly Block[]; head: TsdbStatus['headStats'] }) {
  const { zone } = useSettings();
  const sorted = [...blocks].sort((a, b) => b.minTime - a.minTime);
  const from = Math.min(...blocks.map(block => block.minTime));
  const to = Math.max(head.maxTime, ...blocks.map(block => block.maxTime));
  const at = (ms: number) => `${(100 * (ms - from)) / Math.max(1, to - from)}%`;
  return (
    <>
      <div
        className={classes.line}
        role="img"
        aria-label={`${counted(blocks.length, 'block')} from ${moment(from, zone)} to ${moment(to, zone)}`}
      >
        {blocks.map(block => (
          <i
            key={block.ulid}
            title={`${moment(block.minTime, zone)}, ${rough(block.maxTime - block.minTime)}`}
            style={{
              left: at(block.minTime),
              width: `calc(${at(from + block.maxTime - block.minTime)} - 2px)`,
            }}
          />
        ))}
      </div>
      <p className={classes.ends}>
        <Moment at={from} />
        <Moment at={to} />
      </p>
      <Table label="Blocks" columns={COLUMNS} rows={sorted} rowKey={block => block.ulid} />
    </>
  );
}
