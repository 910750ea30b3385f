/**
 * The doctor's report on a terminal: one block for each check as soon as it is known, a line that moves
 * for the one that runs, and the totals. Into a pipe the same text without colours.
 */

import { countText } from '../diagnose/amounts.ts';
import type { Report } from '../diagnose/doctor.ts';
import type { Finding, Status } from '../diagnose/finding.ts';
import { ShareProgress } from './progress.ts';
import { plainLine, print, styled } from './terminal.ts';

type Style = Parameters<typeof styled>[0];

const WORDS: Readonly<Record<Status, { word: string; style: Style }>> = {
  pass: { word: '✓ pass', style: 'green' },
  warn: { word: '! warn', style: 'yellow' },
  fail: { word: '✗ FAIL', style: 'red' },
  skip: { word: '– skip', style: 'dim' },
};
const LABEL_CHARS = 15;
const WORD_CHARS = 8;
const INDENT = LABEL_CHARS + WORD_CHARS;
const COLUMNS = 100;
const COLUMNS_MAX = 120;
const GAP = '  ';
const TURN_MS = 120;
const TURNS = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

export class DoctorScreen {
  readonly #stream: NodeJS.WriteStream;
  readonly #progress = new ShareProgress();
  #turning: NodeJS.Timeout | undefined;
  #turn = 0;
  #skipped: { title: string; labels: string[] } | undefined;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  begin({ label }: { label: string }): void {
    const show = (): void => {
      this.#turn += 1;
      this.#progress.show(`${TURNS[this.#turn % TURNS.length]} ${label} …`, undefined);
    };
    show();
    this.#turning = setInterval(show, TURN_MS);
  }

  end({ label }: { label: string }, findings: readonly Finding[]): void {
    clearInterval(this.#turning);
    this.#progress.clear();
    const [only] = findings;
    if (findings.length === 1 && only?.status === 'skip' && only.evidence === '') {
      if (this.#skipped?.title !== only.title) this.#tellSkipped();
      this.#skipped ??= { title: only.title, labels: [] };
      this.#skipped.labels.push(label);
      return;
    }
    this.#tellSkipped();
    findings.forEach((finding, i) => {
      print(this.#block(i === 0 ? label : '', finding));
    });
  }

  /** Checks that were skipped in a row for one reason are one block. */
  #tellSkipped(): void {
    if (this.#skipped === undefined) return;
    const { title, labels } = this.#skipped;
    this.#skipped = undefined;
    const [first = '', ...rest] = labels;
    const others = rest.length === 0 ? '' : `also: ${rest.join(', ')}`;
    print(this.#block(first, { status: 'skip', title, evidence: others, remedy: '' }));
  }

  finish({ counts, durationMs, target, version }: Report): void {
    this.#tellSkipped();
    const parts = [
      this.#paint('green', `${counts.pass} passed`),
      counts.warn > 0 ? this.#paint('yellow', countText(counts.warn, 'warning')) : 'no warnings',
      counts.fail > 0 ? this.#paint('red', `${counts.fail} failed`) : 'none failed',
      ...(counts.skip > 0 ? [this.#paint('dim', `${counts.skip} skipped`)] : []),
    ];
    const seconds = (durationMs / 1000).toFixed(1);
    print(`\n${parts.join(' · ')}`);
    print(this.#paint('dim', `holdfast ${version} · Redis: ${plainLine(target)} · ${seconds} s`));
  }

  #block(label: string, finding: Omit<Finding, 'check'>): string {
    const { status, remedy } = finding;
    const { word, style } = WORDS[status];
    const head = this.#paint('bold', label.padEnd(LABEL_CHARS));
    const mark = this.#paint(style, word.padEnd(WORD_CHARS));
    const heavy: Style = status === 'fail' ? 'bold' : status === 'skip' ? 'dim' : 'reset';
    const lines = this.#body(finding, heavy);
    const remedies = this.#wrap(remedy, 2).map((line, i) =>
      this.#paint('cyan', `${i === 0 ? '→' : ' '} ${line}`),
    );
    return [...lines, ...remedies]
      .map((line, i) => `${i === 0 ? `${head}${mark}` : margin()}${line}`)
      .join('\n');
  }

  /** What is so and what was seen: on one line where nothing is to be done and it fits. */
  #body({ status, title, evidence }: Omit<Finding, 'check'>, heavy: Style): string[] {
    const isShort = (status === 'pass' || status === 'skip') && evidence !== '';
    const both = plainLine(title).length + GAP.length + plainLine(evidence).length;
    if (isShort && both <= this.#width()) {
      return [
        `${this.#paint(heavy, plainLine(title))}${GAP}${this.#paint('dim', plainLine(evidence))}`,
      ];
    }
    return [
      ...this.#wrap(title).map((line) => this.#paint(heavy, line)),
      ...this.#wrap(evidence).map((line) => this.#paint('dim', line)),
    ];
  }

  #width(less = 0): number {
    return Math.min(this.#stream.columns || COLUMNS, COLUMNS_MAX) - INDENT - less;
  }

  #wrap(text: string, less = 0): string[] {
    if (text === '') return [];
    const width = this.#width(less);
    const lines: string[] = [];
    let line = '';
    for (const word of plainLine(text).split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === '' ? word : `${line} ${word}`;
    }
    return [...lines, line];
  }

  #paint(style: Style, text: string): string {
    return style === 'reset' ? text : styled(style, text, this.#stream);
  }
}

function margin(): string {
  return ' '.repeat(INDENT);
}
