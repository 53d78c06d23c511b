/**
 * Menus: the browser's own popover, which lies above everything and closes by Escape or a press elsewhere. What is in one
 * exists only while it is open, so that a label in each of a thousand rows costs nothing.
 */
import { type KeyboardEvent, type ReactNode, useId, useLayoutEffect, useRef, useState } from 'react';
import classes from './menu.module.css';

interface Props {
  /** What the button looks like. */
  face: ReactNode;
  /** Of the button, where its face says too little. */
  label?: string | undefined;
  title?: string | undefined;
  className?: string | undefined;
  current?: boolean;
  /** Which edges of button and menu lie above each other. */
  align?: 'start' | 'end';
  /** With fields in it, it is no menu but a small dialog. */
  fields?: boolean;
  children: ReactNode;
}

/** The look of a button that is an icon alone. */
export const BARE = classes.bare;

const GAP = 4;

export function Menu({
  face,
  label,
  title,
  className,
  current,
  align = 'start',
  fields = false,
  children,
}: Props) {
  const button = useRef<HTMLButtonElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);
  const id = useId();
  useLayoutEffect(() => {
    if (!open || !button.current || !box.current) return;
    box.current.showPopover();
    place(box.current, button.current.getBoundingClientRect(), align);
    box.current.querySelector<HTMLElement>('button, input')?.focus();
  }, [open, align]);
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className ?? classes.button}
        aria-label={label}
        title={title}
        aria-haspopup={fields ? 'dialog' : 'menu'}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-current={current ? 'page' : undefined}
        onClick={() => setOpen(old => !old)}
      >
        {face}
      </button>
      {open && (
        // biome-ignore lint/a11y/noStaticElementInteractions: it has a role, of two
        // biome-ignore lint/a11y/useAriaPropsSupportedByRole: see above
        <div
          ref={box}
          id={id}
          popover="auto"
          role={fields ? 'dialog' : 'menu'}
          aria-label={label ?? title ?? 'Menu'}
          className={classes.box}
          onToggle={event => {
            if (event.newState !== 'closed') return;
            setOpen(false);
            button.current?.focus({ preventScroll: true });
          }}
          onKeyDown={walk}
        >
          {children}
        </div>
      )}
    </>
  );
}

/** Below the button, or above where there is more room; never beyond an edge. */
function place(box: HTMLElement, at: DOMRect, align: 'start' | 'end'): void {
  const { innerWidth, innerHeight } = window;
  const { width, height } = box.getBoundingClientRect();
  const left = align === 'start' ? at.left : at.right - width;
  const fitsBelow = at.bottom + GAP + height <= innerHeight || at.top < innerHeight - at.bottom;
  box.style.left = `${Math.max(GAP, Math.min(left, innerWidth - width - GAP))}px`;
  box.style.top = `${fitsBelow ? at.bottom + GAP : Math.max(GAP, at.top - GAP - height)}px`;
}

function walk(event: KeyboardEvent<HTMLDivElement>): void {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>('button:not(:disabled), input')];
  const at = items.indexOf(document.activeElement as HTMLElement);
  items[(at + by + items.length) % items.length]?.focus();
  event.preventDefault();
}

interface ItemProps {
  icon?: ReactNode;
  disabled?: boolean;
  current?: boolean;
  onClick: () => void;
  children: ReactNode;
}

export function MenuItem({ icon, disabled, current, onClick, children }: ItemProps) {
  return (
    <button
      type="button"
      role="menuitem"
      className={classes.item}
      disabled={disabled}
      aria-current={current || undefined}
      onClick={event => {
        event.currentTarget.closest<HTMLElement>('[popover]')?.hidePopover();
        onClick();
      }}
    >
      {icon}
      <span>{children}</span>
    </button>
  );
}

export function MenuLine() {
  return <hr className={classes.line} />;
}

/** A heading among items. */
export function MenuHead({ children }: { children: ReactNode }) {
  return (
    <div className={classes.head} role="presentation">
      {children}
    </div>
  );
}
