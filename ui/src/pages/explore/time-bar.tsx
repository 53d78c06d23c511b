/** Which time is looked at: its length, its end, and whether it follows the clock. */
import { ActionIcon, Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import {
  IconChevronDown,
  IconChevronLeft,
  IconChevronRight,
  IconPlayerPause,
  IconPlayerPlay,
} from '../../components/icons';
import { Menu } from '../../components/menu';
import { moment, parseDuration, parseTime, writeDuration, writeTime } from '../../format/time';
import { useSettings } from '../../store/local';
import type { Panel } from '../../url/explore';
import classes from './explore.module.css';
import { shifted } from './window';

const LENGTHS = ['5m', '15m', '1h', '3h', '6h', '12h', '1d', '2d', '7d', '30d'];

interface Props {
  panel: Panel;
  now: number;
  live: boolean;
  onChange: (changes: Partial<Panel>) => void;
  onNow: () => void;
  onLive: (on: boolean) => void;
}

export function TimeBar({ panel, now, live, onChange, onNow, onLive }: Props) {
  const { zone } = useSettings();
  const Live = live ? IconPlayerPause : IconPlayerPlay;
  return (
    <div className={classes.time}>
      <Menu
        align="end"
        fields
        label={`Length of the range: ${writeDuration(panel.range)}`}
        face={
          <>
            {writeDuration(panel.range)} <IconChevronDown size={14} />
          </>
        }
      >
        <div className={classes.lengths}>
          {LENGTHS.map(text => (
            <button
              key={text}
              type="button"
              aria-pressed={parseDuration(text) === panel.range}
              onClick={() => onChange({ range: parseDuration(text) as number })}
            >
              {text}
            </button>
          ))}
        </div>
        <Field
          label="Another length"
          text={writeDuration(panel.range)}
          read={text => parseDuration(text)}
          onDone={range => range > 0 && onChange({ range })}
        />
        <Field
          label="Ends at (UTC)"
          text={panel.end === undefined ? '' : writeTime(panel.end)}
          hint="2026-11-30 14:05"
          read={parseTime}
          onDone={end => onChange({ end })}
        />
      </Menu>
      <ActionIcon aria-label="Earlier" title="Earlier ([)" onClick={() => onChange(shifted(panel, now, -1))}>
        <IconChevronLeft size={16} stroke={1.75} />
      </ActionIcon>
      <Button
        onClick={() => {
          onChange({ end: undefined });
          onNow();
        }}
        title="To now (0)"
      >
        {panel.end === undefined ? 'now' : moment(panel.end, zone)}
      </Button>
      <ActionIcon
        aria-label="Later"
        title="Later (])"
        disabled={panel.end === undefined}
        onClick={() => onChange(shifted(panel, now, 1))}
      >
        <IconChevronRight size={16} stroke={1.75} />
      </ActionIcon>
      <Button
        aria-pressed={live}
        leftSection={<Live size={16} stroke={1.75} />}
        onClick={() => onLive(!live)}
        title="Ask anew each 15 s (l)"
      >
        live
      </Button>
    </div>
  );
}

interface FieldProps {
  label: string;
  text: string;
  hint?: string;
  read: (text: string) => number | undefined;
  onDone: (value: number) => void;
}

/** A field that is taken by Enter once it can be read. */
function Field({ label, text, hint, read, onDone }: FieldProps) {
  const [typed, setTyped] = useState(text);
  const isRead = typed === '' || read(typed) !== undefined;
  return (
    <TextInput
      className={classes.field as string}
      label={label}
      placeholder={hint ?? ''}
      value={typed}
      error={isRead ? undefined : 'Not a time that can be read'}
      onChange={event => setTyped(event.currentTarget.value)}
      onKeyDown={event => {
        const value = read(typed);
        if (event.key === 'Enter' && value !== undefined) onDone(value);
      }}
    />
  );
}
