/** Times on pages: in the zone that was chosen, whole where the pointer rests. */
import { moment, relative, rough, since } from '../format/time';
import { useNow } from '../live/clock';
import { useSettings } from '../store/local';

/** Go's zero time: never. */
export function isNever(at: string | undefined): boolean {
  return at === undefined || at === '' || at.startsWith('0001-');
}

/** `Nov 30 14:05:09 UTC` */
export function Moment({ at }: { at: string | number }) {
  const { zone } = useSettings();
  return <time dateTime={iso(at)}>{moment(ms(at), zone)}</time>;
}

/** `14:05 UTC`, with the day where it is not today. */
export function Since({ at }: { at: string | number }) {
  const { zone } = useSettings();
  return (
    <time dateTime={iso(at)} title={moment(ms(at), zone)}>
      {since(ms(at), zone)}
    </time>
  );
}

/** `3 min ago` */
export function Ago({ at, none = 'never' }: { at: string | number; none?: string }) {
  const { zone } = useSettings();
  const now = useNow();
  if (typeof at === 'string' && isNever(at)) return <span className="ink3">{none}</span>;
  return (
    <time dateTime={iso(at)} title={moment(ms(at), zone)}>
      {relative(ms(at), Math.max(now, ms(at) < now + 2000 ? ms(at) : now))}
    </time>
  );
}

/** How long something has been so: `12 min`. */
export function For({ from }: { from: string | number }) {
  const { zone } = useSettings();
  const now = useNow();
  return (
    <time dateTime={iso(from)} title={`since ${moment(ms(from), zone)}`}>
      {rough(Math.max(0, now - ms(from)))}
    </time>
  );
}

export function ms(at: string | number): number {
  return typeof at === 'number' ? at : Date.parse(at);
}

function iso(at: string | number): string | undefined {
  const date = new Date(ms(at));
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
