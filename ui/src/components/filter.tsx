/** The box that a page is filtered by: `/` leads to it, what is typed is never lost, and the address keeps it. */
import { TextInput } from '@mantine/core';
import { useDeferredValue, useEffect, useMemo, useRef, useState } from 'react';
import { type Command, useCommands } from '../keys/keymap';
import classes from './filter.module.css';
import { IconSearch } from './icons';

interface Props {
  label: string;
  value: string;
  onChange: (text: string) => void;
  placeholder?: string;
  error?: string | undefined;
}

export function FilterBox({ label, value, onChange, placeholder, error }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(value);
  // What is typed is shown at once; the page follows when it has time.
  const late = useDeferredValue(text);
  const told = useRef(value);
  useEffect(() => {
    if (late !== told.current) {
      told.current = late;
      onChange(late);
    }
  }, [late, onChange]);
  useEffect(() => {
    if (value !== told.current) {
      told.current = value;
      setText(value);
    }
  }, [value]);
  const commands = useMemo<Command[]>(
    () => [{ keys: '/', title: label, group: 'This page', run: () => input.current?.select() }],
    [label],
  );
  useCommands(commands);
  return (
    <TextInput
      ref={input}
      className={classes.filter as string}
      aria-label={label}
      placeholder={placeholder ?? label}
      leftSection={<IconSearch size={16} stroke={1.75} />}
      value={text}
      error={error}
      onChange={event => setText(event.currentTarget.value)}
      onKeyDown={event => {
        if (event.key !== 'Escape') return;
        if (text === '') input.current?.blur();
        else setText('');
      }}
      spellCheck={false}
      autoComplete="off"
    />
  );
}
