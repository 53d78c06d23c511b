/** What a graph has at a time: the nearest line first, eight at most; all of them once it is pinned. */
import { useRef, useState } from 'react';
import { series, sharedLabels } from '../../format/labels';
import { moment } from '../../format/time';
import { value } from '../../format/unit';
import { IconX } from '../icons';
import classes from './graph.module.css';
import type { Look } from './options';
import { Swatch } from './swatch';

export interface Hover {
  /** Index of the time. */
  idx: number;
  /** Pixels from the graph's corner. */
  left: number;
  top: number;
  /** Lines, the nearest first. */
  nearest: number[];
}

const SHOWN_MAX = 8;
/** The order stays as long as the pointer does, within so many pixels: what jumps cannot be read. */
const STILL = 8;
const WIDTH = 340;

interface Props {
  hover: Hover;
  look: Look;
  width: number;
  pinned: boolean;
  onClose: () => void;
}

export function Tooltip({ hover, look, width, pinned, onClose }: Props) {
  const still = useRef(hover);
  const isFar = Math.hypot(still.current.left - hover.left, still.current.top - hover.top) > STILL;
  // A pinned one stays where it was pinned.
  if (!pinned && (isFar || still.current.nearest.length !== hover.nearest.length)) still.current = hover;
  const at = useRef(hover);
  if (!pinned) at.current = hover;
  const [filter, setFilter] = useState('');
  const { idx, left } = at.current;
  const shared = new Set(Object.keys(sharedLabels(look.lines.map(line => line.labels))));
  const order = still.current.nearest.filter(index => look.lines[index]);
  const named = order.map(index => ({ index, name: series(look.lines[index]?.labels ?? {}, shared) }));
  const fitting = pinned
    ? named.filter(({ name }) => name.toLowerCase().includes(filter.toLowerCase()))
    : named.slice(0, SHOWN_MAX);
  const time = look.grid.start + idx * look.grid.step;
  const isLeft = left + WIDTH + 24 > width && left > WIDTH;
  return (
    <div
      className={classes.tooltip}
      data-pinned={pinned || undefined}
      style={{
        left: isLeft ? left - WIDTH - 12 : Math.min(left + 12, Math.max(0, width - WIDTH)),
        width: Math.min(WIDTH, width),
      }}
    >
      <div className={classes.tooltipHead}>
        <b>{moment(time, look.zone)}</b>
        {pinned && (
          <button type="button" aria-label="Unpin" onClick={onClose}>
            <IconX size={14} />
          </button>
        )}
      </div>
      {pinned && (
        <input
          aria-label="Filter the series"
          placeholder="Filter"
          value={filter}
          onChange={event => setFilter(event.currentTarget.value)}
        />
      )}
      <ul>
        {fitting.map(({ index, name }, position) => (
          <li key={look.lines[index]?.key} data-nearest={position === 0 || undefined}>
            <Swatch rank={look.rankOf(look.lines[index]?.key ?? '')} />
            <span className={classes.tooltipName}>{name}</span>
            <b>{value(look.lines[index]?.values[idx], look.unit, look.zone)}</b>
          </li>
        ))}
      </ul>
      {named.length > fitting.length && !pinned && (
        <p>+{named.length - fitting.length} more · click to see all</p>
      )}
      {named.length === 0 && <p>no sample</p>}
    </div>
  );
}
