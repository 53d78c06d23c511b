/** A graph of series over time: uPlot, with what we add to it. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { moment, zoneName } from '../../format/time';
import { value } from '../../format/unit';
import classes from './graph.module.css';
import { dataOf, type Look, optionsOf, symbolOf } from './options';
import { type Hover, Tooltip } from './tooltip';

interface Props extends Look {
  height?: number;
  /** The line that stands out: the legend's under the pointer. */
  focused?: string | undefined;
  onZoom?: ((start: number, end: number) => void) | undefined;
  onZoomOut?: (() => void) | undefined;
  /** How wide the drawing is, for the step of the next question. */
  onWidth?: ((width: number) => void) | undefined;
  /** What the graph shows, for who does not see it. */
  label: string;
}

export function Graph({ height = 320, focused, onZoom, onZoomOut, onWidth, label, ...look }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [width, setWidth] = useState(0);
  const [hover, setHover] = useState<Hover>();
  const [pinned, setPinned] = useState(false);
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const { grid, lines, rankOf, mode, unit, zone, scheme, yFromZero, log, threshold, marks } = look;
  // biome-ignore lint/correctness/useExhaustiveDependencies: look is all of them, made anew with each drawing
  const stable = useMemo(
    () => look,
    [grid, lines, rankOf, mode, unit, zone, scheme, yFromZero, log, threshold, marks],
  );

  useLayoutEffect(() => {
    const element = host.current;
    if (!element) return;
    const observer = new ResizeObserver(entries => setWidth(Math.floor(entries[0]?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (width > 0) onWidth?.(width);
  }, [width, onWidth]);

  const isWide = width > 0;
  const size = useRef({ width, height });
  size.current = { width, height };
  useEffect(() => {
    const element = host.current;
    if (!element || !isWide) return;
    const hooks: uPlot.Hooks.Arrays = {
      setCursor: [self => setHover(hoverOf(self))],
      setSelect: [
        self => {
          if (self.select.width < 4) return;
          const [from, to] = [
            self.posToVal(self.select.left, 'x'),
            self.posToVal(self.select.left + self.select.width, 'x'),
          ];
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          zoom.current?.(Math.round(from * 1000), Math.round(to * 1000));
        },
      ],
    };
    const made = new uPlot(
      optionsOf(stable, size.current.width, size.current.height, hooks),
      dataOf(stable),
      element,
    );
    plot.current = made;
    return () => {
      plot.current = undefined;
      made.destroy();
    };
  }, [stable, isWide]);
  useEffect(() => plot.current?.setSize({ width, height }), [width, height]);
  useEffect(() => {
    const at = focused === undefined ? -1 : stable.lines.findIndex(line => line.key === focused);
    plot.current?.setSeries(at < 0 ? null : at + 1, { focus: true });
  }, [focused, stable]);

  return (
    <figure className={classes.graph} aria-label={label} style={{ minHeight: height }}>
      <div className={classes.unit} aria-hidden>
        {symbolOf(stable)}
      </div>
      <div className={classes.zone} aria-hidden>
        {zoneName(zone, grid.end)}
      </div>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: all it does is done by keys and in the table too */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: see above */}
      <div
        ref={host}
        onDoubleClick={() => onZoomOut?.()}
        onClick={() => setPinned(old => !old && hover !== undefined)}
        onMouseLeave={() => pinned || setHover(undefined)}
      />
      {hover && (
        <Tooltip hover={hover} look={stable} width={width} pinned={pinned} onClose={() => setPinned(false)} />
      )}
    </figure>
  );
}

function hoverOf(self: uPlot): Hover | undefined {
  const { idx, left, top } = self.cursor;
  if (idx == null || left == null || top == null || left < 0) return undefined;
  // Other graphs show the time alone: their pointer is elsewhere.
  const isOwn = self.cursor.event != null && top >= 0;
  if (!isOwn) return undefined;
  const distances: [number, number][] = [];
  for (let index = 1; index < self.data.length; index++) {
    const y = self.data[index]?.[idx];
    if (y != null) distances.push([index - 1, Math.abs(self.valToPos(y, 'y') - top)]);
  }
  distances.sort((a, b) => a[1] - b[1]);
  return {
    idx,
    left: left + self.bbox.left / uPlot.pxRatio,
    top,
    nearest: distances.map(([index]) => index),
  };
}

/** What a graph says to who does not see it. */
export function describe(look: Pick<Look, 'lines' | 'grid' | 'zone' | 'unit'>, of: string): string {
  const low = Math.min(...look.lines.map(line => line.min ?? Infinity));
  const high = Math.max(...look.lines.map(line => line.max ?? -Infinity));
  const between = Number.isFinite(low)
    ? `, between ${value(low, look.unit)} and ${value(high, look.unit)}`
    : '';
  return `Graph of ${of}: ${look.lines.length} series from ${moment(look.grid.start, look.zone)} to ${moment(look.grid.end, look.zone)}${between}`;
}
