import { expect, test } from 'vitest';
import { highest, holes, lonely, Ranks, stacked, times, toCsv, toLines } from './data';

const grid = { start: 0, end: 40_000, step: 10_000 };
const item = (job: string, values: [number, string][]) => ({ metric: { job }, values });

test('series lie on the grid, and what is missing is a gap', () => {
  const [line] = toLines(
    [
      item('a', [
        [0, '1'],
        [10, '3'],
        [30, '+Inf'],
        [40, '2'],
      ]),
    ],
    grid,
  );
  expect(times(grid)).toEqual([0, 10, 20, 30, 40]);
  expect(line?.values).toEqual([1, 3, null, null, 2]);
  expect([line?.min, line?.max, line?.mean, line?.last]).toEqual([1, 3, 2, 2]);
});

test('a series without a number has none', () => {
  const [line] = toLines([item('a', [[0, 'NaN']])], grid);
  expect([line?.min, line?.mean, line?.max, line?.last]).toEqual([null, null, null, Number.NaN]);
});

test('stacks add up, and keep gaps of all', () => {
  const lines = toLines(
    [
      item('a', [
        [0, '1'],
        [10, '1'],
      ]),
      item('b', [
        [0, '2'],
        [20, '5'],
      ]),
    ],
    grid,
  );
  expect(stacked(lines)).toEqual([
    [1, 1, 0, null, null],
    [3, 1, 5, null, null],
  ]);
});

test('lonely samples and common holes are found', () => {
  expect(lonely([1, null, 2, 3, null, 4])).toEqual([0, 5]);
  expect(holes(toLines([item('a', [[10, '1']]), item('b', [[40, '1']])], grid))).toEqual([
    [0, 0],
    [2, 3],
  ]);
});

test('the highest are drawn, in their order', () => {
  const lines = toLines([item('a', [[0, '1']]), item('b', [[0, '9']]), item('c', [[0, '5']])], grid);
  expect(highest(lines, 2).map(line => line.labels.job)).toEqual(['b', 'c']);
});

test('lines keep their colours when others come', () => {
  const ranks = new Ranks();
  const before = toLines([item('a', [[0, '1']]), item('b', [[0, '9']])], grid);
  const rank = ranks.take(before);
  expect(before.map(line => rank(line.key))).toEqual([1, 0]);
  const after = toLines([item('z', [[0, '99']]), item('a', [[0, '100']]), item('b', [[0, '0']])], grid);
  const again = ranks.take(after);
  expect(after.map(line => again(line.key))).toEqual([2, 1, 0]);
});

test('a spreadsheet runs nothing of a label', () => {
  const lines = toLines([item('=cmd()', [[0, '1']])], grid);
  const csv = toCsv(lines, grid, labels => labels.job ?? '');
  expect(csv.split('\n').slice(0, 2)).toEqual([`time,"'=cmd()"`, '1970-01-01T00:00:00.000Z,1']);
});
