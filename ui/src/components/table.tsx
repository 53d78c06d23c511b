/**
 * Tables: rows are drawn as far as they are seen, so that ten thousand are as quick as ten. The page scrolls, not the table.
 * It is told to readers of the screen by roles: rows that are out of sight are not there, which a real table cannot say.
 * Rows are walked with j and k (or arrows, once the table has the focus) and opened with Enter.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import {
  type KeyboardEvent,
  type MouseEvent,
  type ReactNode,
  useCallback,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
import { type Command, useCommands } from '../keys/keymap';
import { useSettings } from '../store/local';
import { IconSortAscending, IconSortDescending } from './icons';
import { usePhone } from './media';
import classes from './table.module.css';

export interface Column<T> {
  key: string;
  title: string;
  /** Width as a track of a CSS grid: `120px`, `minmax(0, 2fr)`. */
  width: string;
  cell: (row: T) => ReactNode;
  /** Numbers stand to the right. */
  number?: boolean;
  /** Makes the heading a switch. */
  compare?: (a: T, b: T) => number;
  /** What is left of it on a phone: `main` on a line of its own, `side` beside others below; else nothing. */
  phone?: 'main' | 'side';
}

interface Props<T> {
  /** What the table lists, for readers of the screen. */
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  onOpen?: ((row: T, event?: MouseEvent) => void) | undefined;
  /** The row under the pointer, nothing where it left. */
  onHover?: ((row: T | undefined) => void) | undefined;
  /** Rows that are there, but not looked at. */
  dimmed?: ((row: T) => boolean) | undefined;
  /** Sort order as `key` or `-key`, where the page keeps it (in its address). */
  sort?: string;
  onSort?: (sort: string) => void;
  /** Whether it is the list that j and k walk; one a page. */
  main?: boolean;
  /** Shown below a row that is opened in place. */
  detail?: ((row: T) => ReactNode | undefined) | undefined;
}

export function Table<T>({
  label,
  columns,
  rows,
  rowKey,
  onOpen,
  onHover,
  dimmed,
  sort = '',
  onSort,
  main = false,
  detail,
}: Props<T>) {
  const frame = useRef<HTMLDivElement>(null);
  const [cursor, setCursor] = useState(-1);
  const phone = usePhone();
  const { density } = useSettings();
  const sorted = useMemo(() => sortRows(rows, columns, sort), [rows, columns, sort]);
  const { virtual, offset } = useRows(frame, sorted, rowKey, `${density}${phone}`);

  const move = useCallback(
    (by: number) =>
      setCursor(old => {
        const next = Math.max(0, Math.min(sorted.length - 1, old + by));
        virtual.scrollToIndex(next, { align: 'auto' });
        return next;
      }),
    [sorted.length, virtual],
  );
  const open = useCallback(() => {
    const row = sorted[cursor];
    if (row !== undefined) onOpen?.(row);
  }, [sorted, cursor, onOpen]);
  useRowCommands(main, move, open);
  const byKey = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: 20,
      PageUp: -20,
      Home: -1e9,
      End: 1e9,
    };
    const by = steps[event.key];
    if (event.target !== frame.current) return;
    if (by !== undefined) move(by);
    else if (event.key === 'Enter') open();
    else return;
    event.preventDefault();
  };

  const tracks = columns.map(column => column.width).join(' ');
  return (
    <div
      ref={frame}
      className={classes.table}
      role="table"
      aria-label={label}
      aria-rowcount={sorted.length + 1}
      tabIndex={sorted.length > 0 ? 0 : -1}
      onKeyDown={byKey}
    >
      {!phone && <Heads columns={columns} tracks={tracks} sort={sort} onSort={onSort} />}
      <div style={{ height: virtual.getTotalSize(), position: 'relative' }} role="rowgroup">
        {virtual.getVirtualItems().map(item => {
          const row = sorted[item.index] as T;
          return (
            <div
              key={item.key}
              ref={virtual.measureElement}
              data-index={item.index}
              className={classes.place}
              role="presentation"
              style={{ transform: `translateY(${item.start - offset}px)` }}
            >
              <Row
                row={row}
                columns={columns}
                tracks={tracks}
                phone={phone}
                index={item.index}
                selected={item.index === cursor}
                dimmed={dimmed?.(row) ?? false}
                onOpen={onOpen}
                onHover={onHover}
              />
              {detail?.(row)}
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** The rows that are seen, and where the table begins in what scrolls. */
function useRows<T>(
  frame: React.RefObject<HTMLDivElement | null>,
  rows: readonly T[],
  rowKey: (row: T) => string,
  layout: string,
) {
  const scroller = useRef<HTMLElement | null>(null);
  const [offset, setOffset] = useState(0);
  const [height, setHeight] = useState(26);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what stands above moves the table, and density its rows
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    scroller.current = element.closest<HTMLElement>('[data-scroller]');
    const top = scroller.current
      ? element.getBoundingClientRect().top -
        scroller.current.getBoundingClientRect().top +
        scroller.current.scrollTop
      : 0;
    setOffset(Math.round(top));
    setHeight(
      Number.parseInt(getComputedStyle(document.documentElement).getPropertyValue('--row'), 10) || 26,
    );
  }, [layout, rows.length]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: 12,
    scrollMargin: offset,
    scrollPaddingEnd: 64,
    scrollPaddingStart: 64,
    getItemKey: index => rowKey(rows[index] as T),
    // A test has no layout: as if a window were there.
    initialRect: { width: 1440, height: 900 },
  });
  return { virtual, offset };
}

function useRowCommands(main: boolean, move: (by: number) => void, open: () => void): void {
  const commands = useMemo<Command[]>(
    () =>
      main
        ? [
            { keys: 'j', title: 'Next row', group: 'This page', run: () => move(1) },
            { keys: 'k', title: 'Row before', group: 'This page', run: () => move(-1) },
            { keys: 'Enter', title: 'Open the row', group: 'This page', run: open },
          ]
        : [],
    [main, move, open],
  );
  useCommands(commands);
}

function Heads<T>({
  columns,
  tracks,
  sort,
  onSort,
}: {
  columns: readonly Column<T>[];
  tracks: string;
  sort: string;
  onSort: ((sort: string) => void) | undefined;
}) {
  return (
    <div className={`${classes.row} ${classes.heads}`} role="row" style={{ gridTemplateColumns: tracks }}>
      {columns.map(column => {
        const order =
          sort === column.key ? 'ascending' : sort === `-${column.key}` ? 'descending' : undefined;
        return (
          <div
            key={column.key}
            role="columnheader"
            aria-sort={order ?? 'none'}
            className={column.number ? classes.number : undefined}
          >
            {column.compare && onSort ? (
              <button
                type="button"
                className={classes.sorter}
                onClick={() => onSort(order === 'descending' ? column.key : `-${column.key}`)}
              >
                {column.title}
                {order === 'ascending' && <IconSortAscending size={12} aria-hidden />}
                {order === 'descending' && <IconSortDescending size={12} aria-hidden />}
              </button>
            ) : (
              column.title
            )}
          </div>
        );
      })}
    </div>
  );
}

interface RowProps<T> {
  row: T;
  columns: readonly Column<T>[];
  tracks: string;
  phone: boolean;
  index: number;
  selected: boolean;
  dimmed: boolean;
  onOpen: ((row: T, event?: MouseEvent) => void) | undefined;
  onHover: ((row: T | undefined) => void) | undefined;
}

function Row<T>({ row, columns, tracks, phone, index, selected, dimmed, onOpen, onHover }: RowProps<T>) {
  const shown = phone ? columns.filter(column => column.phone) : columns;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the table hears Enter
    <div
      className={`${classes.row} ${phone ? classes.phone : ''}`}
      role="row"
      aria-rowindex={index + 2}
      data-selected={selected || undefined}
      data-opens={onOpen ? true : undefined}
      data-dimmed={dimmed || undefined}
      onMouseEnter={onHover && (() => onHover(row))}
      onMouseLeave={onHover && (() => onHover(undefined))}
      style={phone ? undefined : { gridTemplateColumns: tracks }}
      onClick={event => {
        // Text that is being selected, and what is pressed inside, are not the row.
        const inside = (event.target as HTMLElement).closest('a, button, input, label');
        if (!inside && window.getSelection()?.isCollapsed !== false) onOpen?.(row, event);
      }}
    >
      {shown.map(column => (
        <div
          key={column.key}
          role="cell"
          className={`${classes.cell} ${column.number ? classes.number : ''}`}
          data-phone={column.phone}
        >
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
}

export function sortRows<T>(rows: readonly T[], columns: readonly Column<T>[], sort: string): readonly T[] {
  const compare = columns.find(column => column.key === sort.replace(/^-/, ''))?.compare;
  if (!compare) return rows;
  const sign = sort.startsWith('-') ? -1 : 1;
  return [...rows].sort((a, b) => sign * compare(a, b));
}
