/** Where a query is the expression of an alert's rule, the way to the alert: links in what was sent lead here. */
import { rules } from '../../api/prometheus';
import type { AlertingRule } from '../../api/types';
import { AlertBadge, severityOf } from '../../components/state';
import { usePoll } from '../../live/poll';
import { Link } from '../../url/link';
import { fingerprint } from '../alerts/model';
import classes from './explore.module.css';

/** Alerts of the rule that are named. */
const NAMED_MAX = 3;

export function OfRule({ expr }: { expr: string }) {
  const { data } = usePoll({ key: ['rules'], ask: rules });
  const rule = data
    ?.flatMap(group => group.rules)
    .find((one): one is AlertingRule => one.type === 'alerting' && one.query.trim() === expr);
  if (!rule) return null;
  const alerts = rule.alerts ?? [];
  return (
    <p className={classes.ofRule}>
      This is the expression of{' '}
      <Link to="/rules" params={{ search: rule.name }}>
        {rule.name}
      </Link>
      {rule.state === 'inactive' ? ', which is quiet.' : ': '}
      {alerts.slice(0, NAMED_MAX).map(alert => (
        <span key={fingerprint(alert.labels)}>
          <AlertBadge state={alert.state} severity={severityOf(alert.labels)} />{' '}
          <Link to={`/alerts/${fingerprint(alert.labels)}`}>
            {alert.annotations.summary || alert.labels.alertname}
          </Link>
        </span>
      ))}
    </p>
  );
}
