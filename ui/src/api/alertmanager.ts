/** The calls of Alertmanager's API that pages make; answered where an Alertmanager is inside. */
import { askAlertmanager } from './client';
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
