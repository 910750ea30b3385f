/** `holdfast pause`: no worker of the whole fleet takes a job of the queue until `resume`. */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { EXIT } from './exit-codes.ts';
import { many } from './moments.ts';
import { onQueue } from './on-queue.ts';
import { type ConfigSource, exitsAsDocumented, run } from './run.ts';
import { print } from './terminal.ts';

export function register(program: Command, source: ConfigSource): void {
  exitsAsDocumented(
    program
      .command('pause')
      .description('stop the fleet taking jobs of a queue')
      .argument('<queue>', 'the queue to pause')
      .option('--json', 'print JSON: queue, isPaused, waiting, active')
      .addHelpText(
        'after',
        `
Examples:
  $ holdfast pause email
  $ holdfast pause email && deploy-mail-server && holdfast resume email

Jobs are still accepted and wait; running ones go on to their end. Plain BullMQ workers obey too.
Exit codes: 0 paused (also when it was) · 2 no such queue · 69 Redis is away`,
      )
      .action((queue: string, options: { json?: boolean }) =>
        run(source, (config) => setPaused(config, queue, true, options)),
      ),
  );
}

/** Pauses or resumes; the same again changes nothing. */
export async function setPaused(
  config: Config,
  name: string,
  isPaused: boolean,
  options: { json?: boolean },
): Promise<number> {
  return await onQueue(config, name, async ({ link, queue, counts }) => {
    const acting = isPaused ? queue.pause() : queue.resume();
    await link.call(acting, `${isPaused ? 'pausing' : 'resuming'} the queue`);
    const waiting = (counts.waiting ?? 0) + (counts.prioritized ?? 0);
    const active = counts.active ?? 0;
    if (options.json) {
      print(JSON.stringify({ queue: name, isPaused, waiting, active }, null, 2));
    } else if (isPaused) {
      print(
        `${name} is paused: ${many(waiting, 'job')} wait, ${active} running go on to their end.\n` +
          `To go on: holdfast resume ${name}`,
      );
    } else {
      print(`${name} goes on: ${many(waiting, 'job')} wait, ${active} are running.`);
    }
    return EXIT.done;
  });
}
