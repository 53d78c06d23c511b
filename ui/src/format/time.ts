/** Times for people: a 24 h clock, a zone beside every time, lengths in two parts at most. */
import { significant } from './number';

/** Which clock is shown: the browser's, or Greenwich's. */
export type Zone = 'local' | 'UTC';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let made = formats.get(key);
  if (!made) {
    made = new Intl.DateTimeFormat('en-US', {
      hourCycle: 'h23',
      ...(zone === 'UTC' ? { timeZone: 'UTC' } : {}),
      ...options,
    });
    formats.set(key, made);
  }
  return made;
}

function parts(ms: number, zone: Zone): Record<string, string> {
  const options = {
    year: 'numeric',
    month: 'short',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  } as const;
  return Object.fromEntries(
    format(zone, options)
      .formatToParts(ms)
      .map(part => [part.type, part.value]),
  );
}

/** `UTC`, or what the browser calls its zone. */
export function zoneName(zone: Zone, ms: number = Date.now()): string {
  if (zone === 'UTC') return 'UTC';
  const found = format(zone, { timeZoneName: 'short' })
    .formatToParts(ms)
    .find(part => part.type === 'timeZoneName');
  return found?.value ?? 'local';
}

/** `14:05:09 UTC` */
export function clock(ms: number, zone: Zone): string {
  const { hour, minute, second } = parts(ms, zone);
  return `${hour}:${minute}:${second} ${zoneName(zone, ms)}`;
}

/** `14:05 UTC` */
export function clockShort(ms: number, zone: Zone): string {
  const { hour, minute } = parts(ms, zone);
  return `${hour}:${minute} ${zoneName(zone, ms)}`;
}

/** `Nov 30 14:05:09 UTC`; the year too where it is not this one. */
export function moment(ms: number, zone: Zone, now: number = Date.now()): string {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return 'beyond all calendars';
  const { year, month, day } = parts(ms, zone);
  const date = year === parts(now, zone).year ? `${month} ${day}` : `${month} ${day} ${year}`;
  return `${date} ${clock(ms, zone)}`;
}

/** Today a clock is enough; before, the day too. */
export function since(ms: number, zone: Zone, now: number = Date.now()): string {
  const [then, today] = [parts(ms, zone), parts(now, zone)];
  const isToday = then.year === today.year && then.month === today.month && then.day === today.day;
  return isToday ? clockShort(ms, zone) : `${then.month} ${then.day} ${clockShort(ms, zone)}`;
}

/** `3 min ago`, `in 4 h` */
export function relative(ms: number, now: number): string {
  const away = Math.abs(now - ms);
  if (away < SECOND) return 'now';
  const text = rough(away);
  return ms <= now ? `${text} ago` : `in ${text}`;
}

/** One part: `12 s`, `3 min`, `4 h`, `9 d`. */
export function rough(ms: number): string {
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < 2 * DAY) return `${Math.floor(ms / HOUR)} h`;
  return `${Math.floor(ms / DAY)} d`;
}

/** A length in seconds: `850 ns`, `4.2 ms`, `1.35 s`, `2m 05s`, `3d 4h`. */
export function seconds(length: number): string {
  if (length === 0) return '0 s';
  if (length < 0.9995e-6) return `${significant(length * 1e9, 3)} ns`;
  if (length < 0.9995e-3) return `${significant(length * 1e6, 3)} µs`;
  if (length < 0.9995) return `${significant(length * 1e3, 3)} ms`;
  if (length < 59.95) return `${significant(length, 3)} s`;
  const whole = Math.round(length);
  const pad = (n: number) => String(n).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86_400)}d ${Math.floor((whole % 86_400) / 3600)}h`;
}

const UNITS: [string, number][] = [
  ['y', 365 * DAY],
  ['w', 7 * DAY],
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', SECOND],
  ['ms', 1],
];

/** A length as queries have it (`1h30m`), in milliseconds; nothing where it is none. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) * SECOND;
  const match = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(
    trimmed,
  );
  if (!match || trimmed === '') return undefined;
  return UNITS.reduce((sum, [, size], index) => sum + Number(match[index + 1] ?? 0) * size, 0);
}

/** The same back: `5400000` is `1h30m`. */
export function writeDuration(ms: number): string {
  if (ms <= 0) return '0s';
  let rest = Math.round(ms);
  let text = '';
  // Weeks and years only where nothing is left: `10d` is clearer than `1w3d`.
  for (const [word, size] of UNITS) {
    if ((word === 'y' || word === 'w') && rest % size !== 0) continue;
    const times = Math.floor(rest / size);
    rest -= times * size;
    if (times > 0) text += `${times}${word}`;
  }
  return text;
}

/** A time as URLs have it: RFC 3339, `2026-11-30 14:05:09`, or Unix seconds; in milliseconds. Without a zone it is UTC. */
export function parseTime(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  if (/^-?\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) * SECOND;
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?\s*(Z|[+-]\d\d:\d\d)?$/.exec(
    trimmed,
  );
  if (!match) return undefined;
  const ms = Date.parse(`${match[1]}T${match[2] ?? '00:00:00'}${match[3] ?? 'Z'}`);
  return Number.isNaN(ms) ? undefined : ms;
}

/** A time as URLs have it: RFC 3339 in UTC, without a fraction that is none. */
export function writeTime(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}

/** Marks of a time axis whose marks stand `step` milliseconds apart. */
export function timeMark(ms: number, step: number, zone: Zone): string {
  const { month, day, hour, minute, second } = parts(ms, zone);
  if (step >= DAY) return `${month} ${day}`;
  if (hour === '00' && minute === '00' && second === '00') return `${month} ${day}`;
  return step < MINUTE ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
}

/** How far the clock of a zone stands before Greenwich's, in milliseconds. */
export function zoneOffset(ms: number, zone: Zone): number {
  return zone === 'UTC' ? 0 : -new Date(ms).getTimezoneOffset() * MINUTE;
}
