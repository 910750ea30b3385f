/**
 * Rows as aligned columns without lines, as `ps` and `kubectl` print them: easy on the eye and on `awk`.
 * On a terminal the last column is cut at the right edge; into a pipe everything is written out.
 */
import Table, { type TableConstructorOptions } from 'cli-table3';
import { styled } from './terminal.ts';

const LINES = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
  'left',
  'left-mid',
  'mid',
  'mid-mid',
  'right',
  'right-mid',
] as const;
const GAP = '  ';
/** A last column narrower than this says nothing: the line may wrap instead. */
const LAST_CHARS_MIN = 16;

/** The library's time grows with the square of the rows that it is given. */
const DRAWN_ROWS = 50;

/** The first row is the head. Columns of numbers go right. */
export function table(
  rows: readonly (readonly string[])[],
  stream: NodeJS.WriteStream = process.stdout,
): string {
  const [head = [], ...body] = rows;
  const widths = head.map((_, i) =>
    rows.reduce((widest, row) => Math.max(widest, visible(row[i]!)), 0),
  );
  const options = {
    chars: { ...Object.fromEntries(LINES.map((line) => [line, ''])), middle: GAP },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
    colAligns: head.map((_, i) => (body.length > 0 && isNumeric(body, i) ? 'right' : 'left')),
    colWidths: fitted(widths, stream),
    truncate: '…',
  } satisfies TableConstructorOptions;
  const drawn = [head.map((cell) => styled('dim', cell, stream)), ...body.map((row) => [...row])];
  const parts: string[] = [];
  for (let from = 0; from < drawn.length; from += DRAWN_ROWS) {
    const part = new Table(options);
    part.push(...drawn.slice(from, from + DRAWN_ROWS));
    parts.push(part.toString());
  }
  return parts
    .join('\n')
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

function isNumeric(rows: readonly (readonly string[])[], column: number): boolean {
  return rows.every((row) => /^[\d,–]+$/.test(plain(row[column]!)));
}

/** Widths as they are, but the last one no wider than what is left of the screen. */
function fitted(widths: readonly number[], stream: NodeJS.WriteStream): number[] {
  const columns = stream.isTTY === true ? stream.columns : 0;
  const last = widths.at(-1) ?? 0;
  if (!columns) return [...widths];
  const others = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0);
  return [...widths.slice(0, -1), Math.min(last, Math.max(LAST_CHARS_MIN, columns - others))];
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a style begins with ESC
  return text.replace(/\u001b\[[\d;]*m/g, '');
}

function visible(text: string): number {
  return plain(text).length;
}
