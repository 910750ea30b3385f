/**
 * `holdfast start`: the service as a process. Signals, exit codes and the first words to a person live
 * here; everything else is the service's.
 *
 *   SIGTERM, SIGINT   stop gracefully; again: at once, exit 143 or 130
 *   SIGHUP            read secrets again; in a terminal, which is gone then: as SIGTERM, again: exit 129
 *   SIGTSTP           take no more jobs, go on with those that run
 *   unhandled error   logged once with its stack, stop gracefully, exit 70
 */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { HoldfastError, InvalidInputError } from '../errors.ts';
import type { Service } from '../service-contract.ts';
import { EXIT, EXIT_OF_SIGNAL, exitCodeOf } from './exit-codes.ts';
import { greeting } from './greeting.ts';
import { exitsAsDocumented } from './run.ts';
import { SameSignal } from './same-signal.ts';
import { complain, note, styled } from './terminal.ts';

/** After the grace period the process ends whatever still hangs, ms. */
const FORCE_MS = 1900;

interface StartOptions {
  burst?: boolean;
  queues?: string;
  watch?: boolean;
  watched?: boolean;
}

export function register(program: Command): void {
  exitsAsDocumented(
    program
      .command('start')
      .description('run the service')
      .option('--burst', 'work until no job waits any more, then end; waits through outages')
      .option('--queues <a,b>', 'consume only these queues (as QUEUES)')
      .option('--watch', 'start anew when a handler changes, after the running jobs are done')
      .addOption(new Option('--watched', 'started by --watch: end with it').hideHelp())
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast start
  $ holdfast start --queues faq,webhook
  $ holdfast start --queues report --burst          for cron: ends when the queue is empty
  $ REDIS_URL=redis://db:6379 holdfast start

SIGTERM and SIGINT stop it gracefully, a second one at once; SIGHUP reads passwords, tokens and
certificates again (in a terminal it stops the service); SIGTSTP (holdfast quiet) takes no
more jobs. It logs to stdout: JSON, or for people when that is a terminal.
Exit codes: 0 stopped, or the burst is over · 2 wrong arguments, also --queues without a name · 69 the
port, the embedded Redis or the journal cannot be used · 70 an error that nobody handled · 78
configuration or a handler file · 129, 130, 143 by a second signal`,
      )
      .action(async (options: StartOptions) => {
        if (options.queues !== undefined && !/[^\s,]/.test(options.queues)) {
          // Empty, as from a variable that is not set, would be all of them.
          const given = JSON.stringify(options.queues);
          const remedy = 'Name one, or leave it away for all.';
          return refuse(new InvalidInputError(`--queues ${given}`, 'names no queue', remedy));
        }
        if (options.watch) {
          const { watch } = await import('./watch.ts');
          return watch(options.queues === undefined ? [] : ['--queues', options.queues]);
        }
        await start(options);
      }),
  );
}

async function start(options: StartOptions): Promise<void> {
  // Loaded here, so that no other command waits for it.
  const { createService } = await import('../service.ts');
  let service: Service;
  try {
    service = createService({
      settings: options.queues === undefined ? {} : { QUEUES: options.queues },
    });
  } catch (error) {
    return refuse(error);
  }
  const end = new ProcessEnd(service);
  end.listen();
  // Also a parent that was killed closes the channel; the service must not outlive it unseen.
  if (options.watched) process.once('disconnect', () => void end.gracefully(EXIT.done));
  try {
    await service.start();
  } catch (error) {
    // Told to stop while it started: the end is under way.
    if (end.hasBegun) return;
    return refuse(error);
  }
  if (end.hasBegun) return;
  greet(service);
  if (!options.burst) return;
  await service.drained();
  await end.gracefully(EXIT.done);
}

/** What cannot start says why and exits as documented; an unforeseen error keeps its stack. */
function refuse(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error;
  complain(error);
  process.exit(exitCodeOf(error));
}

/** Decides when and with what the process ends. */
class ProcessEnd {
  readonly #service: Service;
  readonly #same = new SameSignal();
  #isSignalled = false;
  hasBegun = false;

  constructor(service: Service) {
    this.#service = service;
  }

  listen(): void {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => this.#on(signal));
    }
    // A terminal that is closed sends it too, and nobody would be left who sees the service.
    const isInTerminal = process.stdin.isTTY;
    process.on('SIGHUP', () => {
      if (isInTerminal) this.#on('SIGHUP');
      else void this.#service.reload();
    });
    process.on('SIGTSTP', () => this.#service.quiet());
    process.on('uncaughtException', (error) => this.#unhandled(error));
    process.on('unhandledRejection', (error) => this.#unhandled(error));
  }

  async gracefully(code: number): Promise<void> {
    if (this.hasBegun) return;
    this.hasBegun = true;
    const { shutdownGraceMs } = this.#service.config;
    setTimeout(() => process.exit(code), shutdownGraceMs + FORCE_MS).unref();
    await this.#service.stop();
    process.exit(code);
  }

  #on(signal: keyof typeof EXIT_OF_SIGNAL): void {
    if (this.#same.isAgain(signal)) return;
    if (this.#isSignalled) {
      this.#service.log.warn({ event: 'service.forced', signal }, 'second signal: ending at once');
      process.exit(EXIT_OF_SIGNAL[signal]);
    }
    this.#isSignalled = true;
    void this.gracefully(EXIT.done);
  }

  #unhandled(error: unknown): void {
    if (this.hasBegun) return;
    this.#service.log.fatal(
      { event: 'service.unhandled', err: error },
      'an error that nobody handled; stopping',
    );
    void this.gracefully(EXIT.software);
  }
}

/** A few words to a person who has just started it; nothing when nobody sits in front. */
function greet(service: Service): void {
  if (!process.stdout.isTTY) return;
  const { queues, address, embedded } = service;
  const hasDemo = existsSync(new URL('../../bench/demo.ts', import.meta.url));
  note(
    greeting({ queues, address, embedded, hasDemo }, (style, text) =>
      styled(style, text, process.stderr),
    ),
  );
}
