import { expect, test } from 'vitest';
import { type Command, commandOf, pressed, shownKeys } from './keymap';

const command = (keys: string): Command => ({ keys, title: keys, group: 'Everywhere', run: () => {} });
const list = ['g e', 'g a', 'j', 'mod+k', '?'].map(command);

test('one key, two keys, and the beginning of two', () => {
  expect(commandOf(list, '', 'j')).toMatchObject({ keys: 'j' });
  expect(commandOf(list, '', 'g')).toBe('begin');
  expect(commandOf(list, 'g', 'a')).toMatchObject({ keys: 'g a' });
  expect(commandOf(list, 'g', 'j')).toBeUndefined();
  expect(commandOf(list, '', 'x')).toBeUndefined();
});

test('what came last comes first', () => {
  const later = { ...command('j'), title: 'later' };
  expect(commandOf([...list, later], '', 'j')).toBe(later);
});

test('keys are named as commands name them', () => {
  const event = (init: KeyboardEventInit) => pressed(new KeyboardEvent('keydown', init));
  expect(event({ key: 'K', ctrlKey: true })).toBe('mod+k');
  expect(event({ key: 'k', metaKey: true })).toBe('mod+k');
  expect(event({ key: '?', shiftKey: true })).toBe('?');
  expect(event({ key: 'e', altKey: true })).toBe('');
  expect(shownKeys('g e')).toEqual(['g', 'e']);
});
