/** A dialog: the browser's own, which keeps the focus inside, closes by Escape and gives the focus back. */

import { ActionIcon } from '@mantine/core';
import { type ReactNode, useEffect, useRef } from 'react';
import classes from './dialog.module.css';
import { IconX } from './icons';

interface Props {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** Without its heading, for what explains itself. */
  bare?: boolean;
  wide?: boolean;
}

export function Dialog({ title, onClose, children, bare = false, wide = false }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    return () => shown?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape is the key for what a press outside does
    <dialog
      ref={dialog}
      className={`${classes.dialog} ${wide ? classes.wide : ''}`}
      aria-label={title}
      onCancel={event => {
        event.preventDefault();
        onClose();
      }}
      onClick={event => event.target === dialog.current && onClose()}
    >
      <div className={classes.inside}>
        {bare || (
          <header className={classes.head}>
            <h2>{title}</h2>
            <ActionIcon aria-label="Close" onClick={onClose}>
              <IconX size={16} stroke={1.75} />
            </ActionIcon>
          </header>
        )}
        {children}
      </div>
    </dialog>
  );
}
