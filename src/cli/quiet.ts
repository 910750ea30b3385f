/** `holdfast quiet`: running services take no more jobs and go on with those that run. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { EXIT } from './exit-codes.ts';
import { type ConfigSource, run } from './run.ts';
import { note, print } from './terminal.ts';

const noteSchema = z.object({ pid: z.int().positive(), replica: z.string().optional() });

export function register(program: Command, source: ConfigSource): void {
  program
    .command('quiet')
    .description('Tell the services of this data folder to take no more jobs (as SIGTSTP).')
    .action(async () => {
      await run(source, async ({ dataDir }) => {
        let told = 0;
        for (const pid of await pids(dataDir)) {
          try {
            process.kill(pid, 'SIGTSTP');
            print(`${pid} takes no more jobs`);
            told += 1;
          } catch {
            // A note of a service that died.
          }
        }
        if (told > 0) return EXIT.done;
        note(
          `No service of ${dataDir} runs here. Start one with \`holdfast start\`, or set DATA_DIR.`,
        );
        return EXIT.unavailable;
      });
    });
}

async function pids(dataDir: string): Promise<number[]> {
  const found: number[] = [];
  for (const file of await readdir(dataDir).catch(() => [])) {
    if (!/^service-.*\.json$/.test(file)) continue;
    try {
      found.push(noteSchema.parse(JSON.parse(await readFile(join(dataDir, file), 'utf8'))).pid);
    } catch {
      // Half written, or not ours.
    }
  }
  return found;
}
