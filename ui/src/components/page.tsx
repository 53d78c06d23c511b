/** The frame of a page: its title, and a sentence that does its job before anything else is read. */
import { type ReactNode, useEffect } from 'react';
import classes from './page.module.css';

/** What the document was called by the server. */
const SERVER = typeof document === 'undefined' ? 'Narthex' : document.title;

interface Props {
  /** Of the document, for tabs and bookmarks. */
  title: string;
  /** Things that need somebody: in front of the title. */
  badge?: number | undefined;
  /** What is so, said first. */
  sentence: ReactNode;
  /** Beside the sentence, the one that is meant to be pressed last. */
  actions?: ReactNode;
  /** On a phone the actions lie at the bottom edge, where a thumb is. */
  reach?: boolean;
  children: ReactNode;
}

export function Page({ title, badge, sentence, actions, reach = false, children }: Props) {
  useEffect(() => {
    document.title = `${badge ? `(${badge}) ` : ''}${title} · ${SERVER}`;
  }, [title, badge]);
  return (
    <div className={classes.page} data-reach={reach || undefined}>
      <header className={classes.head}>
        <h1 className={classes.sentence}>{sentence}</h1>
        {actions && <div className={classes.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** A part of a page on a panel of its own. */
export function Panel({
  title,
  children,
  actions,
  flush = false,
}: {
  title?: ReactNode;
  children: ReactNode;
  actions?: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className={`${classes.panel} ${flush ? classes.flush : ''}`}>
      {title && (
        <header className={classes.panelHead}>
          <h2>{title}</h2>
          {actions && <div className={classes.actions}>{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** A row of filters and choices. */
export function Bar({ children }: { children: ReactNode }) {
  return <div className={classes.bar}>{children}</div>;
}
