/** Draws the demo: in place in a terminal, line by line elsewhere. */
import type { SideView } from './demo-side.ts';

const WIDTH = 34;
/** Elsewhere than in a terminal one line in this time is enough, ms. */
const LINE_EVERY_MS = 5000;

const marks = { running: '·', done: '✓', again: '2' } as const;

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #isLive: boolean;
  #drawn = 0;
  #lastLineAt = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.#isLive = out.isTTY === true && process.env.TERM !== 'dumb';
  }

  say(text: string): void {
    this.#out.write(`${text}\n`);
    this.#drawn = 0;
  }

  draw(phase: string, sides: readonly SideView[]): void {
    if (this.#isLive) {
      const lines = [phase, '', ...table(sides, liveRows)];
      const back = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : '';
      this.#out.write(`${back}${lines.map((line) => `\x1b[2K${line}`).join('\n')}\n`);
      this.#drawn = lines.length;
      return;
    }
    if (performance.now() - this.#lastLineAt < LINE_EVERY_MS) return;
    this.#lastLineAt = performance.now();
    const told = sides.map(
      ({ name, isUp, ended, twice }) =>
        `${name}: Redis ${isUp ? 'up' : 'away'}, ${ended} jobs ended, ${twice} run twice`,
    );
    this.say(`${phase} | ${told.join(' | ')}`);
  }

  sum(sides: readonly SideView[]): void {
    this.say('');
    for (const line of table(sides, sumRows)) this.say(line);
  }
}

type Rows = readonly [label: string, of: (side: SideView) => string][];

const enqueues: Rows[number] = [
  'enqueues in the outage',
  ({ accepted, refused, hung }) => `${accepted} kept, ${refused} refused, ${hung} hung`,
];

const liveRows: Rows = [
  ['Redis', ({ isUp }) => (isUp ? 'up' : 'SIGKILLed')],
  ['in flight', ({ inFlight }) => inFlight.map((state) => marks[state]).join('')],
  enqueues,
  ['jobs ended', ({ ended }) => `${ended}`],
  ['run twice', ({ twice }) => `${twice}`],
  ['log lines', ({ logLines }) => `${logLines}`],
];

const sumRows: Rows = [
  ['accepted and lost', ({ lost }) => `${lost}`],
  ['in flight, run twice', ({ twice, inFlight }) => `${twice} of ${inFlight.length}`],
  enqueues,
  [
    'first job after Redis answers',
    ({ firstJobMs }) => (firstJobMs === undefined ? 'never' : `${firstJobMs} ms`),
  ],
  ['log lines about the outage', ({ logLines }) => `${logLines}`],
];

function table(sides: readonly SideView[], rows: Rows): string[] {
  const line = (label: string, cells: readonly string[]): string =>
    `  ${label.padEnd(30)}${cells.map((cell) => cell.padEnd(WIDTH)).join('')}`.trimEnd();
  return [
    line(
      '',
      sides.map(({ name }) => name),
    ),
    ...rows.map(([label, of]) => line(label, sides.map(of))),
  ];
}
