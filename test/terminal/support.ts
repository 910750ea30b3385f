/** A real terminal with a shell in it, as somebody sits in front of: keys in, screen out. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));
const WIDTH = 120;
const HEIGHT = 45;
/** A busy two-core machine needs a second for what takes half a second otherwise. */
const WITHIN_MS = 20_000;
const LOOK_MS = 50;

export interface Shown {
  /** Without styles. */
  screen: string;
  code: number;
  /** From the Enter key to the shell's next word, ms; looked at every 50 ms. */
  ms: number;
}

export class Terminal implements Disposable {
  readonly #socket = `holdfast-${process.pid}-${randomUUID().slice(0, 8)}`;
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-terminal-'));

  #runs = 0;

  /** A shell in which `holdfast` is the command of this repository. */
  constructor(
    env: Readonly<Record<string, string>>,
    { columns, rows } = { columns: WIDTH, rows: HEIGHT },
  ) {
    const shell = join(this.#folder, 'rc');
    const exported = Object.entries(env).map(([name, value]) => `export ${name}='${value}'`);
    const command = `holdfast() { '${process.execPath}' '${BIN}' "$@"; }`;
    const lines = ["PS1='$ '", 'unset NO_COLOR FORCE_COLOR CI', command, ...exported, 'clear'];
    writeFileSync(shell, `${lines.join('\n')}\n`);
    this.#tmux(
      ...['-f', '/dev/null', 'new-session', '-d', '-s', 't', '-x', `${columns}`, '-y', `${rows}`],
      ...[`cd '${this.#folder}' && exec bash --rcfile '${shell}' -i`],
    );
  }

  /** What stands on the screen now, long lines joined; with `styles` as escape sequences. */
  screen(styles = false): string {
    const text = this.#tmux('capture-pane', '-p', '-J', '-t', 't', ...(styles ? ['-e'] : []));
    return text.replaceAll(/[ \t]+$/gm, '').trimEnd();
  }

  /** Types as a person does, without Enter. */
  type(text: string): void {
    this.#tmux('send-keys', '-t', 't', '-l', text);
  }

  /** `Enter`, `C-c`, … */
  press(key: string): void {
    this.#tmux('send-keys', '-t', 't', key);
  }

  /** Resolves with the screen once it matches. */
  async until(pattern: RegExp, timeout = WITHIN_MS): Promise<string> {
    const endsAt = performance.now() + timeout;
    for (;;) {
      const screen = this.screen();
      if (pattern.test(screen)) return screen;
      if (performance.now() > endsAt) throw new Error(`no ${pattern} on the screen:\n${screen}`);
      // A terminal tells nobody when it has been drawn on.
      await sleep(LOOK_MS);
    }
  }

  /** Types a command line on an empty screen; the keys of `then` follow when their words appear. */
  async run(line: string, then: readonly (readonly [RegExp, string])[] = []): Promise<Shown> {
    // Numbered: what the command before left on the screen must not be taken for this one's end.
    this.#runs += 1;
    this.type(`clear; ${line}; echo "code=$? of ${this.#runs}"`);
    const startedAt = performance.now();
    this.press('Enter');
    for (const [question, answer] of then) {
      await this.until(question);
      this.type(answer);
      this.press('Enter');
    }
    const end = new RegExp(`^code=(\\d+) of ${this.#runs}$`, 'm');
    const screen = await this.until(end);
    const ms = performance.now() - startedAt;
    return { screen, code: Number(end.exec(screen)![1]), ms };
  }

  [Symbol.dispose](): void {
    this.#tmux('kill-server');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #tmux(...args: string[]): string {
    const env = { ...process.env, TERM: 'xterm-256color', LC_ALL: 'C.UTF-8' };
    return execFileSync('tmux', ['-u', '-L', this.#socket, ...args], { encoding: 'utf8', env });
  }
}
