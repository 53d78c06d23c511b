/** The colour of a line, beside its name. */
import { strokeOf } from '../../theme/colours';
import classes from './graph.module.css';

export function Swatch({ rank }: { rank: number }) {
  const { token, dash, alpha } = strokeOf(rank);
  return (
    <i
      aria-hidden
      className={classes.swatch}
      data-dashed={dash.length > 0 || undefined}
      style={{ color: `var(--${token})`, opacity: alpha }}
    />
  );
}
