/** What a query took, small, beside its tabs: series, time; below them what the server warns of. */
import { createContext, type ReactNode, use } from 'react';
import { createPortal } from 'react-dom';
import type { QueryData } from '../../api/types';
import { Notice } from '../../components/notice';
import { counted, number } from '../../format/number';
import { seconds } from '../../format/time';
import classes from './explore.module.css';

interface Props {
  data: QueryData;
  warnings: string[];
  infos: string[];
  note?: string;
}

const Place = createContext<HTMLElement | null>(null);
/** Where facts are shown of what is inside. */
export const FactsPlace = Place.Provider;

/** Text in the place of facts. */
export function FactsText({ children }: { children: ReactNode }) {
  const place = use(Place);
  return place && createPortal(children, place);
}

export function Facts({ data, warnings, infos, note }: Props) {
  const series =
    Array.isArray(data.result) && (data.resultType === 'vector' || data.resultType === 'matrix')
      ? counted(data.result.length, 'series', 'series')
      : data.resultType;
  const took = data.stats?.timings?.execTotalTime;
  const read = data.stats?.samples?.totalQueryableSamples;
  const parts = [
    series,
    took === undefined ? '' : seconds(took),
    read === undefined ? '' : `${number(read)} samples read`,
    note ?? '',
  ];
  return (
    <>
      <FactsText>{parts.filter(part => part !== '').join(' · ')}</FactsText>
      {[
        ...warnings.map(text => ['warning', text] as const),
        ...infos.map(text => ['info', text] as const),
      ].map(([tone, text]) => (
        <div key={text} className={classes.inside}>
          <Notice tone={tone} fact={text} />
        </div>
      ))}
    </>
  );
}
