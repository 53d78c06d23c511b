/** Moving the window of time that is looked at. */
import type { Panel } from '../../url/explore';

/** Half a range earlier (-1) or later (1); never beyond now. */
export function shifted(panel: Panel, now: number, by: -1 | 1): Partial<Panel> {
  const end = (panel.end ?? now) + (by * panel.range) / 2;
  return { end: end >= now ? undefined : Math.round(end) };
}

/** A range so many times as long around the middle; one that ends now goes on doing so. */
export function zoomed(panel: Panel, now: number, times: number): Partial<Panel> {
  const range = Math.max(10_000, Math.round(panel.range * times));
  if (panel.end === undefined) return { range };
  const end = panel.end - panel.range / 2 + range / 2;
  return { range, end: end >= now ? undefined : Math.round(end) };
}
