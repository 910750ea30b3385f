/** Up to which line of an input the jobs are kept, and how to go on from there without adding one twice. */

/** A job of the batch that was sent last. */
export interface SentLine {
  line: number;
  id: string;
}

/** What a person reads of an input that was not added to its end. */
export class KeptLines {
  readonly #input: string;
  readonly #queue: string;
  #count = 0;
  /** All up to this one are kept. */
  #upTo = 0;
  /** Of the last batch, after the first line that is not kept. */
  #later: number[] = [];
  #unknown: SentLine[] = [];

  /** `input`: its name for people. */
  constructor(input: string, queue: string) {
    this.#input = input;
    this.#queue = queue;
  }

  get count(): number {
    return this.#count;
  }

  /** A batch that is kept as a whole. */
  keep(batch: readonly SentLine[]): void {
    this.#count += batch.length;
    this.#upTo = batch.at(-1)?.line ?? this.#upTo;
  }

  /** The last batch, some of whose jobs may be kept; nothing of it was known before. */
  keepPart(batch: readonly SentLine[], kept: ReadonlySet<string>, unknown: ReadonlySet<string>) {
    const firstGap = batch.findIndex(({ id }) => !kept.has(id));
    const whole = firstGap < 0 ? batch : batch.slice(0, firstGap);
    this.keep(whole);
    const rest = batch.slice(whole.length);
    this.#later = rest.filter(({ id }) => kept.has(id)).map(({ line }) => line);
    this.#unknown = rest.filter(({ id }) => unknown.has(id));
    this.#count += this.#later.length;
  }

  /** Sentences; the ids of the jobs of which nobody knows below them, one a line. */
  toString(): string {
    const later = this.#later.length === 0 ? '' : `, and of those after it ${ranges(this.#later)}`;
    const doubt =
      this.#unknown.length === 0
        ? ''
        : `; of ${ranges(this.#unknown.map(({ line }) => line))} it is not known`;
    const only = doubt === '' ? '; nothing else' : '';
    const kept = `${jobsAreKept(this.#count)}, up to line ${this.#upTo} of ${this.#input}${later}${doubt}${only}.`;
    return `${kept} Go on with: ${this.#goOn()}${this.#addAgain()}`;
  }

  /** Prints the lines that are not kept. */
  #goOn(): string {
    const left: string[] = [];
    let from = this.#upTo + 1;
    const passed = [...this.#later, ...this.#unknown.map(({ line }) => line)];
    for (const line of passed.sort((a, b) => a - b)) {
      if (line > from) left.push(`${from},${line - 1}p`);
      from = line + 1;
    }
    return left.length === 0 ? `tail -n +${from}` : `sed -n '${[...left, `${from},$p`].join(';')}'`;
  }

  #addAgain(): string {
    const [first] = this.#unknown;
    if (first === undefined) return '';
    const ids = this.#unknown.map(({ line, id }) => `  line ${line}  --job-id ${id}`);
    return `\nWhat is not known is not added twice under its id, while Redis has it: sed -n ${first.line}p | holdfast enqueue ${this.#queue} - --job-id ${first.id}\n${ids.join('\n')}`;
  }
}

/** `1 job is kept`, `2500 jobs are kept` */
export function jobsAreKept(count: number): string {
  return count === 1 ? '1 job is kept' : `${count} jobs are kept`;
}

/** `line 5`, `lines 5 to 7, 9`; of lines in ascending order. */
function ranges(lines: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const line of lines) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === line - 1) last[1] = line;
    else parts.push([line, line]);
  }
  const texts = parts.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`));
  return `${lines.length === 1 ? 'line' : 'lines'} ${texts.join(', ')}`;
}
