/** Where a query is written: a plain field of the same size until the editor is loaded. */
import { lazy, Suspense } from 'react';
import classes from './editor.module.css';

export interface EditorProps {
  value: string;
  onChange: (text: string) => void;
  onRun: () => void;
  autoFocus?: boolean;
}

const CodeMirror = lazy(() => import('./codemirror'));

export function Editor(props: EditorProps) {
  return (
    <Suspense fallback={<Plain {...props} />}>
      <CodeMirror {...props} />
    </Suspense>
  );
}

function Plain({ value, onChange, onRun }: EditorProps) {
  return (
    <textarea
      className={`${classes.editor} ${classes.plain}`}
      aria-label="PromQL expression"
      rows={Math.max(1, value.split('\n').length)}
      value={value}
      spellCheck={false}
      onChange={event => onChange(event.currentTarget.value)}
      onKeyDown={event => {
        if (event.key !== 'Enter' || event.shiftKey) return;
        event.preventDefault();
        onRun();
      }}
    />
  );
}
