/** Targets as squares, a group of them a job: what is down is seen among thousands. */
import { useEffect, useMemo, useRef } from 'react';
import type { Target } from '../../api/types';
import { Panel } from '../../components/page';
import { count } from '../../format/number';
import { colour, useScheme } from '../../theme/colours';
import { setParams } from '../../url/params';
import classes from './targets.module.css';

const CELL = 12;
const GAP = 2;

export function TargetMap({ targets }: { targets: readonly Target[] }) {
  const pools = useMemo(() => {
    const byPool = new Map<string, Target[]>();
    for (const target of targets)
      byPool.set(target.scrapePool, [...(byPool.get(target.scrapePool) ?? []), target]);
    return [...byPool];
  }, [targets]);
  return (
    <Panel>
      {pools.map(([pool, those]) => (
        <div key={pool} className={classes.pool}>
          <button
            type="button"
            className={classes.poolName}
            onClick={() => setParams({ pool, view: undefined })}
          >
            {pool}
          </button>
          <Squares
            targets={those}
            label={`${pool}: ${those.filter(target => target.health === 'up').length} of ${those.length} up`}
          />
          <span className={classes.poolCount}>
            {count(those.filter(target => target.health === 'up').length)}/{count(those.length)}
          </span>
        </div>
      ))}
    </Panel>
  );
}

/** One canvas a job: ten thousand elements would be slow. */
function Squares({ targets, label }: { targets: readonly Target[]; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const scheme = useScheme();
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const draw = () => paint(element, targets, scheme);
    const observer = new ResizeObserver(draw);
    observer.observe(element.parentElement as HTMLElement);
    draw();
    return () => observer.disconnect();
  }, [targets, scheme]);
  const at = (event: React.MouseEvent) => {
    const box = event.currentTarget.getBoundingClientRect();
    const columns = Math.max(1, Math.floor(box.width / (CELL + GAP)));
    const index =
      Math.floor((event.clientY - box.top) / (CELL + GAP)) * columns +
      Math.floor((event.clientX - box.left) / (CELL + GAP));
    return targets[index];
  };
  const open = (target: Target | undefined) =>
    target &&
    setParams({
      view: undefined,
      pool: target.scrapePool,
      target: `${target.scrapePool} ${target.scrapeUrl}`,
    });
  return (
    <div className={classes.squares}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={label}
        onMouseMove={event => {
          const target = at(event);
          event.currentTarget.title = target
            ? `${target.labels.instance ?? target.scrapeUrl}: ${target.health} ${target.lastError}`
            : '';
        }}
        onClick={event => open(at(event))}
      />
    </div>
  );
}

function paint(canvas: HTMLCanvasElement, targets: readonly Target[], scheme: 'light' | 'dark'): void {
  const width = canvas.parentElement?.clientWidth ?? 0;
  const columns = Math.max(1, Math.floor(width / (CELL + GAP)));
  const height = Math.ceil(targets.length / columns) * (CELL + GAP);
  const ratio = window.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const ctx = canvas.getContext('2d');
  if (!ctx) return;
  ctx.scale(ratio, ratio);
  for (const [index, target] of targets.entries()) {
    const [x, y] = [(index % columns) * (CELL + GAP), Math.floor(index / columns) * (CELL + GAP)];
    if (target.health === 'down') {
      // Filled, with a notch: told apart without its colour.
      ctx.fillStyle = colour('critical', scheme);
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(x + CELL - 5, y);
      ctx.lineTo(x + CELL, y + 5);
      ctx.lineTo(x + CELL, y + CELL);
      ctx.lineTo(x, y + CELL);
      ctx.fill();
    } else {
      ctx.strokeStyle = colour(target.health === 'up' ? 'control' : 'none', scheme);
      ctx.lineWidth = 1;
      ctx.strokeRect(x + 0.5, y + 0.5, CELL - 1, CELL - 1);
      if (target.health !== 'unknown') continue;
      ctx.beginPath();
      for (const by of [4, 8, 12]) {
        ctx.moveTo(x, y + by);
        ctx.lineTo(x + by, y);
      }
      ctx.stroke();
    }
  }
}
