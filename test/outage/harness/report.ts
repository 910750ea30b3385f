/** One line for each row, and the table of all. */
import type { RowResult } from './row.ts';

const columns: readonly [name: string, width: number, of: (row: RowResult) => string][] = [
  ['row', 5, ({ id }) => id],
  ['fault', 58, ({ fault, program }) => (program === 'plain' ? `${fault} (plain BullMQ)` : fault)],
  ['outage s', 8, ({ outageS }) => `${outageS}`],
  ['detect ms', 9, ({ detectMs }) => `${detectMs ?? '-'}`],
  ['first job ms', 12, ({ firstJobMs }) => `${firstJobMs ?? 'never'}`],
  ['jobs', 4, ({ jobs }) => `${jobs}`],
  ['lost', 4, ({ lost }) => `${lost}`],
  ['twice', 5, ({ twice }) => `${twice}`],
  ['lines', 5, ({ logLines }) => `${logLines}`],
  ['verdict', 7, ({ problems }) => (problems.length === 0 ? 'holds' : 'BROKEN')],
];

export const tableHead = columns.map(([name, width]) => pad(name, width)).join('  ');

export function formatRow(row: RowResult): string {
  return columns.map(([, width, of]) => pad(of(row), width)).join('  ');
}

/** The table as Markdown. */
export function markdown(results: readonly RowResult[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(columns.map(([name]) => name)),
    line(columns.map(() => '---')),
    ...results.map((row) => line(columns.map(([, , of]) => of(row)))),
  ].join('\n');
}

function pad(text: string, width: number): string {
  return /^[\d.]+$/.test(text) && width < 20 ? text.padStart(width) : text.padEnd(width);
}
