/** Keeps the mistake of one page from taking away the frame around it. */
import { Component, type ReactNode } from 'react';
import { Notice } from './notice';

export class Guard extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    // A part that is loaded later is gone once the server is of another version.
    const isGone = error instanceof Error && /import|module/i.test(error.message);
    return (
      <div style={{ padding: 'var(--s6)' }}>
        <Notice
          tone="critical"
          fact={isGone ? 'A part of this page could not be loaded.' : 'This page has failed.'}
          reason={error instanceof Error ? error.message : String(error)}
          next={
            <button type="button" onClick={() => window.location.reload()}>
              Load it anew
            </button>
          }
        />
      </div>
    );
  }
}
