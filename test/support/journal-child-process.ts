/** Starts `journal-child.ts` as a process of its own, and hears what it says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const CHILD = fileURLToPath(new URL('./journal-child.ts', import.meta.url));

export interface JournalChild {
  process: ChildProcess;
  lines: string[];
  /** Resolves with the line once the child has said it. */
  says(pattern: RegExp): Promise<string>;
  /** SIGKILL, and the wait for its end. */
  kill(): Promise<void>;
}

/** Ended with the test. */
export function startChild(
  dir: string,
  replica: string,
  count: number | 'adopt' | 'fill',
  user?: { uid: number },
): JournalChild {
  const child = spawn(process.execPath, [CHILD, dir, replica, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...user,
  });
  const lines: string[] = [];
  const exited = once(child, 'exit');
  const reader = createInterface({ input: child.stdout });
  let wake = Promise.withResolvers<void>();
  reader.on('line', (line) => {
    lines.push(line);
    wake.resolve();
    wake = Promise.withResolvers();
  });
  const drained = once(reader, 'close').then(() => wake.resolve());
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
    await drained;
  };
  onTestFinished(kill);
  return {
    process: child,
    lines,
    kill,
    async says(pattern) {
      for (let at = 0; ; at++) {
        while (at >= lines.length) {
          if (child.exitCode !== null || child.signalCode !== null) throw new Error('child ended');
          await wake.promise;
        }
        const line = lines[at] ?? '';
        if (pattern.test(line)) return line;
      }
    },
  };
}
