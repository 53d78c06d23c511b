/** The calls of Alertmanager's API that pages make; answered where an Alertmanager is inside. */
import { ApiError, askAlertmanager } from './client';
import type { AmAlert, Silence, SilenceMatcher } from './types';

export const silences = (signal?: AbortSignal) => askAlertmanager<Silence[]>('silences', { signal });
export const silence = (id: string, signal?: AbortSignal) =>
  askAlertmanager<Silence>(`silence/${encodeURIComponent(id)}`, { signal });
export const amAlerts = (filter: string[], signal?: AbortSignal) =>
  askAlertmanager<AmAlert[]>('alerts', { params: { filter }, signal });

export interface NewSilence {
  id?: string;
  matchers: SilenceMatcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
}
export const saveSilence = (silence: NewSilence) =>
  askAlertmanager<{ silenceID: string }>('silences', { json: silence });
export const expireSilence = (id: string) =>
  askAlertmanager<undefined>(`silence/${encodeURIComponent(id)}`, { method: 'DELETE' });

/** How long a server that has no Alertmanager inside is not asked again, in milliseconds: a reload may bring one. */
const ABSENT_FOR = 60_000;
let absentUntil = 0;

/** What Alertmanager answers; nothing where there is none inside. */
export async function ifInside<T>(ask: () => Promise<T>): Promise<T | undefined> {
  if (Date.now() < absentUntil) return undefined;
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof ApiError) || error.kind !== 'not_found') throw error;
    absentUntil = Date.now() + ABSENT_FOR;
    return undefined;
  }
}

/** How many alerts are held back: silenced, inhibited or muted. */
export async function suppressedCount(signal?: AbortSignal): Promise<number> {
  const params = { active: 'false', silenced: 'true', inhibited: 'true', muted: 'true' };
  return (await askAlertmanager<AmAlert[]>('alerts', { params, signal })).length;
}
