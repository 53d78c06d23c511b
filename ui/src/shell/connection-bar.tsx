/** What is said, calmly, when the server does not answer, starts or stops. */
import { clock } from '../format/time';
import { type Connection, useConnection } from '../live/connection';
import { useSettings } from '../store/local';
import classes from './connection-bar.module.css';

export function ConnectionBar() {
  const connection = useConnection();
  const { zone } = useSettings();
  if (connection.state === 'live') return null;
  return (
    <div className={classes.bar} role="status" data-state={connection.state}>
      {words(connection, at => clock(at, zone))}
    </div>
  );
}

function words(connection: Connection, at: (ms: number) => string): string {
  switch (connection.state) {
    case 'lost':
      return `No answer since ${at(connection.since)}; shown is what was known then. The server is asked again until it answers.`;
    case 'starting':
      return connection.done === undefined
        ? 'The server is starting.'
        : `Starting: ${Math.round(connection.done * 100)} % of the log read.`;
    case 'stopping':
      return 'The server is stopping.';
    default:
      return '';
  }
}

const WORDS = { live: 'live', lost: 'no answer', starting: 'starting', stopping: 'stopping' };

/** Whether what is shown is of now: a dot, and a word where it is not. */
export function LiveDot() {
  const { state } = useConnection();
  return (
    <span
      className={classes.dot}
      data-state={state}
      title={state === 'live' ? 'The server answers.' : undefined}
    >
      <i aria-hidden />
      <span className={state === 'live' ? 'unseen' : undefined}>{WORDS[state]}</span>
    </span>
  );
}
