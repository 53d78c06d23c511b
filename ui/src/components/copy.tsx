/** Copying, and saying that it was done. */
import { ActionIcon } from '@mantine/core';
import { useState } from 'react';
import { IconCheck, IconCopy } from './icons';

/** Puts text into the clipboard; where a page may not (plain HTTP), by way of a field. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const press = async () => {
    setDone(await copy(text));
    setTimeout(() => setDone(false), 1500);
  };
  const Icon = done ? IconCheck : IconCopy;
  return (
    <ActionIcon aria-label={done ? 'Copied' : label} title={label} onClick={press}>
      <Icon size={16} stroke={1.75} />
    </ActionIcon>
  );
}

/** Gives the reader a file. */
export function download(name: string, type: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
