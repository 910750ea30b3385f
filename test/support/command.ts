/**
 * The commands of this repository as a process of their own, with a configuration from the
 * environment: TEST_CONFIG is JSON that is laid over the test configuration.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config.ts';

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunningCommand {
  result: Promise<CommandResult>;
  /** Resolves once stderr matches. */
  said(pattern: RegExp): Promise<void>;
  /** Resolves once anything was printed. */
  printed(): Promise<unknown>;
  signal(name: NodeJS.Signals): void;
  /** As `| head` does when it has seen enough. */
  closeStdout(): void;
}

const MAIN = fileURLToPath(new URL('./command-main.ts', import.meta.url));

/** @param stdoutFile what stdout goes into; default: into the result */
export function startCommand(
  args: readonly string[],
  config: Partial<Config>,
  stdin: string | Uint8Array = '',
  stdoutFile?: string,
): RunningCommand {
  const stdoutFd = stdoutFile === undefined ? undefined : openSync(stdoutFile, 'w');
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, TEST_CONFIG: JSON.stringify(config), FORCE_COLOR: undefined },
    stdio: ['pipe', stdoutFd ?? 'pipe', 'pipe'],
  }) as ChildProcessWithoutNullStreams;
  if (stdoutFd !== undefined) closeSync(stdoutFd);
  let stdout = '';
  let stderr = '';
  const waiting = new Set<() => void>();
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    for (const look of waiting) look();
  });
  // A command that refuses early reads no further.
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  const result = once(child, 'close').then(([code]) => ({ code, stdout, stderr }));
  return {
    result,
    said(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const look = (): void => {
        if (pattern.test(stderr)) resolve();
      };
      waiting.add(look);
      look();
      void result.then((end) => reject(new Error(`ended without ${pattern}: ${end.stderr}`)));
      return promise.finally(() => waiting.delete(look));
    },
    printed: () => once(child.stdout, 'data'),
    signal: (name) => child.kill(name),
    closeStdout: () => child.stdout.destroy(),
  };
}

export function runCommand(
  args: readonly string[],
  config: Partial<Config>,
  stdin?: string | Uint8Array,
  stdoutFile?: string,
): Promise<CommandResult> {
  return startCommand(args, config, stdin, stdoutFile).result;
}
