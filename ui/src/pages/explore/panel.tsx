/** One query: its editor, what it took, and its result as graph, table or explained. */
import { Button, SegmentedControl } from '@mantine/core';
import { useCallback, useEffect, useState } from 'react';
import { formatQuery } from '../../api/prometheus';
import { IconDots, IconTrash } from '../../components/icons';
import { BARE, Menu, MenuHead, MenuItem } from '../../components/menu';
import { Editor } from '../../components/promql/editor';
import { remember, useHistory } from '../../store/local';
import type { Panel, Tab } from '../../url/explore';
import { ExplainTab } from './explain';
import classes from './explore.module.css';
import { FactsPlace } from './facts';
import { GraphTab } from './graph-tab';
import { OfRule } from './of-rule';
import { TableTab } from './table-tab';

export interface PanelProps {
  panel: Panel;
  now: number;
  isFirst: boolean;
  onChange: (changes: Partial<Panel>, how?: { replace?: boolean }) => void;
  onZoom: (start: number, end: number) => void;
  onZoomOut: () => void;
  onRefresh: () => void;
  onOpen: (expr: string) => void;
  onRemove: (() => void) | undefined;
}

const TABS: { value: Tab; label: string }[] = [
  { value: 'graph', label: 'Graph' },
  { value: 'table', label: 'Table' },
  { value: 'explain', label: 'Explain' },
];

export function PanelView(props: PanelProps) {
  const { panel, isFirst, onChange, onRefresh, onRemove } = props;
  const [draft, setDraft] = useState(panel.expr);
  const [facts, setFacts] = useState<HTMLElement | null>(null);
  // Back, a link or history brings another query.
  useEffect(() => setDraft(panel.expr), [panel.expr]);
  const run = useCallback(() => {
    remember(draft);
    if (draft.trim() !== panel.expr) onChange({ expr: draft.trim() });
    onRefresh();
  }, [draft, panel.expr, onChange, onRefresh]);
  return (
    <section className={classes.panel} aria-label={panel.expr === '' ? 'New query' : `Query ${panel.expr}`}>
      <div className={classes.query}>
        <Editor value={draft} onChange={setDraft} onRun={run} autoFocus={isFirst && panel.expr === ''} />
        <Button variant={isFirst ? 'filled' : 'default'} onClick={run} disabled={draft.trim() === ''}>
          Run
        </Button>
        <More draft={draft} onDraft={setDraft} onRemove={onRemove} />
      </div>
      {panel.expr === '' ? (
        <Begin onPick={expr => onChange({ expr })} />
      ) : (
        <>
          <div className={classes.tabs}>
            <SegmentedControl
              aria-label="Show as"
              data={TABS}
              value={panel.tab}
              onChange={tab => onChange({ tab: tab as Tab })}
            />
            {draft.trim() !== panel.expr && <span className="ink3">edited · Enter runs it</span>}
            <span className={classes.gap} />
            <span ref={setFacts} className={classes.facts} />
          </div>
          <OfRule expr={panel.expr} />
          <FactsPlace value={facts}>
            <Shown {...props} />
          </FactsPlace>
        </>
      )}
    </section>
  );
}

function Shown(props: PanelProps) {
  switch (props.panel.tab) {
    case 'table':
      return <TableTab {...props} />;
    case 'explain':
      return <ExplainTab {...props} />;
    default:
      return <GraphTab {...props} />;
  }
}

function More({
  draft,
  onDraft,
  onRemove,
}: {
  draft: string;
  onDraft: (text: string) => void;
  onRemove: (() => void) | undefined;
}) {
  const format = async () => {
    // What cannot be read stays as it is; the editor marks where.
    const formatted = await formatQuery(draft).catch(() => undefined);
    if (formatted) onDraft(formatted.data);
  };
  const history = useHistory();
  return (
    <Menu
      align="end"
      className={BARE}
      label="More about this query"
      face={<IconDots size={20} stroke={1.75} />}
    >
      <MenuItem onClick={format}>Format</MenuItem>
      {onRemove && (
        <MenuItem icon={<IconTrash size={16} stroke={1.75} />} onClick={onRemove}>
          Remove this query
        </MenuItem>
      )}
      {history.length > 0 && <MenuHead>Run before</MenuHead>}
      {history.slice(0, 10).map(query => (
        <MenuItem key={query} onClick={() => onDraft(query)}>
          <code>{query}</code>
        </MenuItem>
      ))}
    </Menu>
  );
}

/** Queries that have something to show on any server, for who comes for the first time. */
const FIRST = [
  'up',
  'sum by (job) (scrape_samples_scraped)',
  'rate(process_cpu_seconds_total[5m])',
  'ALERTS',
];

function Begin({ onPick }: { onPick: (expr: string) => void }) {
  const history = useHistory();
  const offered = history.length > 0 ? history.slice(0, 6) : FIRST;
  return (
    <div className={classes.begin}>
      <p>
        Write an expression and press Enter. Names are completed while you write.{' '}
        {history.length > 0 ? 'Run before:' : 'To begin with:'}
      </p>
      <ul>
        {offered.map(expr => (
          <li key={expr}>
            <button type="button" onClick={() => onPick(expr)}>
              <code>{expr}</code>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
