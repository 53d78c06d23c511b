/** The editor of queries: CodeMirror, loaded when it is shown. */
import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  startCompletion,
} from '@codemirror/autocomplete';
import { history, historyKeymap, insertNewlineAndIndent, selectAll } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, LRLanguage, syntaxHighlighting } from '@codemirror/language';
import { linter } from '@codemirror/lint';
import { EditorState, type Extension, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { parser } from '@prometheus-io/lezer-promql';
import { useEffect, useRef } from 'react';
import { completion } from './complete';
import type { EditorProps } from './editor';
import classes from './editor.module.css';
import { findErrors } from './lint';

const highlight = HighlightStyle.define([
  { tag: [tags.function(tags.variableName), tags.operatorKeyword], color: 'var(--info)' },
  { tag: tags.string, color: 'var(--accent)' },
  { tag: tags.labelName, color: 'var(--promql-label)' },
  { tag: tags.number, color: 'var(--promql-number)' },
  { tag: [tags.modifier, tags.logicOperator], color: 'var(--ink)', fontWeight: '600' },
  {
    tag: [tags.operator, tags.arithmeticOperator, tags.paren, tags.brace, tags.squareBracket],
    color: 'var(--ink2)',
  },
  { tag: tags.comment, color: 'var(--ink3)', fontStyle: 'italic' },
]);

/** The library's own wrapping of its parts would bring a client and a linter that we have. */
const language = LRLanguage.define({
  parser: parser.configure({ top: 'PromQL' }),
  languageData: { closeBrackets: { brackets: ['(', '[', '{', "'", '"', '`'] }, commentTokens: { line: '#' } },
});

/** The editor lies in a shadow, where styles made while a page runs need no leave of the policy; page styles end before it. */
const look = EditorView.theme({
  '&, &.cm-focused': { outline: 'none' },
  '.cm-scroller': { font: 'var(--text-editor)' },
  '.cm-content': { padding: '5px 0', caretColor: 'var(--ink)' },
  '.cm-line': { padding: '0 var(--s3)' },
  '.cm-line ::selection': { background: 'color-mix(in srgb, var(--info) 30%, transparent)' },
  '.cm-placeholder': { color: 'var(--ink3)' },
  '&.cm-focused .cm-matchingBracket': { background: 'var(--info-tint)', outline: '1px solid var(--info)' },
  '.cm-tooltip': {
    border: '1px solid var(--line)',
    borderRadius: 'var(--radius)',
    background: 'var(--raised)',
    color: 'var(--ink)',
    boxShadow: 'var(--shadow)',
  },
  // Below the line's underscores.
  '.cm-tooltip.cm-tooltip-autocomplete': { marginTop: '5px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': {
    font: 'var(--text-table)',
    fontFamily: 'var(--mono)',
    maxHeight: '320px',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': {
    padding: '2px var(--s3)',
    borderLeft: '2px solid transparent',
  },
  '.cm-tooltip-autocomplete ul li[aria-selected]': {
    background: 'var(--accent-tint)',
    color: 'var(--ink)',
    borderLeftColor: 'var(--accent)',
  },
  '.cm-completionMatchedText': { color: 'var(--accent)', fontWeight: '600', textDecoration: 'none' },
  '.cm-completionDetail': { color: 'var(--ink3)', fontStyle: 'normal' },
  '.cm-tooltip.cm-completionInfo': {
    padding: 'var(--s3) var(--s4)',
    maxWidth: '360px',
    font: 'var(--text-table)',
  },
  '.cm-diagnostic': { font: 'var(--text-table)', padding: 'var(--s2) var(--s3)' },
  '.cm-diagnostic-error': { borderLeft: '3px solid var(--critical)' },
  '.cm-lintRange-error': {
    backgroundImage: 'none',
    textDecoration: 'underline wavy var(--critical)',
    textUnderlineOffset: '3px',
  },
});

/** Milliseconds from the last key to the look for errors. */
const LINT_AFTER = 300;

function extensions(run: () => void, change: (text: string) => void): Extension[] {
  return [
    look,
    language,
    language.data.of({ autocomplete: completion() }),
    syntaxHighlighting(highlight),
    bracketMatching(),
    closeBrackets(),
    history(),
    autocompletion({ activateOnTypingDelay: 60, icons: false, maxRenderedOptions: 100 }),
    linter(view => findErrors(view.state.doc.toString()), { delay: LINT_AFTER }),
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({ 'aria-label': 'PromQL expression' }),
    placeholder('An expression, such as rate(http_requests_total[5m])'),
    Prec.highest(
      keymap.of([
        { key: 'Enter', run: view => acceptCompletion(view) || ran(run) },
        { key: 'Shift-Enter', run: insertNewlineAndIndent },
        { key: 'Mod-Enter', run: () => ran(run) },
        { key: 'Tab', run: acceptCompletion },
      ]),
    ),
    // Moving and deleting are the browser's: its keys are those that the reader knows.
    keymap.of([
      ...closeBracketsKeymap,
      ...completionKeymap,
      ...historyKeymap,
      { key: 'Mod-a', run: selectAll },
      { key: 'Ctrl-Space', run: startCompletion },
    ]),
    EditorView.updateListener.of(update => update.docChanged && change(update.state.doc.toString())),
  ];
}

/** The key is used up by running. */
function ran(run: () => void): true {
  run();
  return true;
}

export default function CodeMirror({ value, onChange, onRun, autoFocus }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const latest = useRef({ onChange, onRun });
  latest.current = { onChange, onRun };
  const first = useRef({ value, autoFocus });

  useEffect(() => {
    const element = host.current as HTMLDivElement;
    const root = element.shadowRoot ?? element.attachShadow({ mode: 'open' });
    const made = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        doc: first.current.value,
        selection: { anchor: first.current.value.length },
        extensions: extensions(
          () => latest.current.onRun(),
          text => latest.current.onChange(text),
        ),
      }),
    });
    view.current = made;
    if (first.current.autoFocus) made.focus();
    return () => made.destroy();
  }, []);

  // What comes from elsewhere, Back or history, takes the text's place; what was typed here is there already.
  useEffect(() => {
    const shown = view.current;
    if (shown && shown.state.doc.toString() !== value)
      shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: value } });
  }, [value]);

  return <div ref={host} className={classes.editor} />;
}
