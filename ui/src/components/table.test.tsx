import { fireEvent, render, screen } from '@testing-library/react';
import { expect, test, vi } from 'vitest';
import { type Column, sortRows, Table } from './table';

interface Row {
  name: string;
  size: number;
}
const columns: Column<Row>[] = [
  {
    key: 'name',
    title: 'name',
    width: '1fr',
    cell: row => row.name,
    compare: (a, b) => a.name.localeCompare(b.name),
    phone: 'main',
  },
  {
    key: 'size',
    title: 'size',
    width: '80px',
    number: true,
    cell: row => row.size,
    compare: (a, b) => a.size - b.size,
  },
];
const rows: Row[] = Array.from({ length: 10_000 }, (_, index) => ({
  name: `row ${index}`,
  size: (index * 7) % 100,
}));

test('rows are sorted either way, or stay as they are', () => {
  const three = rows.slice(0, 3);
  expect(sortRows(three, columns, '-size').map(row => row.size)).toEqual([14, 7, 0]);
  expect(sortRows(three, columns, 'size').map(row => row.size)).toEqual([0, 7, 14]);
  expect(sortRows(three, columns, 'nothing')).toBe(three);
});

test('of ten thousand rows those are drawn that are seen, and all are counted', () => {
  const sort = vi.fn();
  render(
    <div data-scroller style={{ height: 900, overflow: 'auto' }}>
      <Table label="Rows" columns={columns} rows={rows} rowKey={row => row.name} sort="" onSort={sort} />
    </div>,
  );
  const table = screen.getByRole('table', { name: 'Rows' });
  expect(table.getAttribute('aria-rowcount')).toBe('10001');
  expect(screen.getAllByRole('row').length).toBeLessThan(100);
  fireEvent.click(screen.getByRole('button', { name: 'size' }));
  expect(sort).toHaveBeenCalledWith('-size');
});
