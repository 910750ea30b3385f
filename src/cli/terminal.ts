/**
 * What commands print: results to stdout, everything that is said to people on the way to stderr,
 * colours only on a terminal (NO_COLOR and FORCE_COLOR are obeyed). A reader that has gone away
 * (`| head`) ends nothing.
 */
import { styleText } from 'node:util';
import { EXIT } from './exit-codes.ts';

export type Style = Parameters<typeof styleText>[0];

const LINE_CHARS_MAX = 500;
const COLUMNS = 80;
/** `error ` */
const ERROR_CHARS = 6;

/** Text in a style, where the stream shows styles. */
export function styled(style: Style, text: string, stream: NodeJS.WriteStream): string {
  return styleText(style, text, { stream, validateStream: true });
}

let isPrinted = false;

/** Whether there is a result on stdout. */
export function hasPrinted(): boolean {
  return isPrinted;
}

/** A result, for the next program or the screen. */
export function print(text: string): void {
  isPrinted = true;
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** A word to whoever sits in front. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Text from elsewhere as one bounded line: it must not steer the terminal. */
export function plainLine(text: string): string {
  const plain = text.replace(/\p{Cc}+/gu, ' ');
  return plain.length > LINE_CHARS_MAX ? `${plain.slice(0, LINE_CHARS_MAX)}…` : plain;
}

/**
 * Sentences between words at the right edge of a terminal, with what follows indented below them; into a
 * pipe as they are. Line breaks in the text stay.
 */
export function wrapped(text: string, indent: number, stream: NodeJS.WriteStream): string {
  const columns = stream.isTTY === true ? stream.columns || COLUMNS : Number.POSITIVE_INFINITY;
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    const lead = /^ */.exec(line)![0];
    let present = '';
    for (const word of line.split(/(?<=\S) /)) {
      if (present !== '' && indent + present.length + 1 + word.length > columns) {
        lines.push(present);
        present = lead + word;
      } else {
        present = present === '' ? word : `${present} ${word}`;
      }
    }
    lines.push(present);
  }
  return lines.join(`\n${columns === Number.POSITIVE_INFINITY ? '' : ' '.repeat(indent)}`);
}

/** An error in its own words: what happened and, on a terminal in lines of its own, what to do. */
export function complain({ message, remedy }: { message: string; remedy: string }): void {
  const { stderr } = process;
  const isSplit = stderr.isTTY === true && remedy !== '' && message.endsWith(remedy);
  const text = isSplit ? `${message.slice(0, -remedy.length).trimEnd()}\n${remedy}` : message;
  note(`${styled('red', 'error', stderr)} ${wrapped(text, ERROR_CHARS, stderr)}`);
}

/** What nobody can be given the result of ends at once. */
function endUnwritten({ code }: NodeJS.ErrnoException): never {
  complain({ message: `stdout cannot be written (${code}).`, remedy: '' });
  process.exit(EXIT.usage);
}

let isGuarded = false;

/**
 * A closed stdout (`| head`) is no error, and no end either: jobs that were asked for are still
 * added when nobody reads their ids any more. Idempotent.
 */
export function outliveReader(): void {
  if (isGuarded) return;
  isGuarded = true;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') endUnwritten(error);
  });
}
