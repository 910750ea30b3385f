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
  /** Resolves once so many lines were printed; default one. */
  printed(lines?: number): Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** As `| head` does when it has seen enough. */
  closeStdout(): void;
  closeStderr(): void;
  /** To stdin, when it was left open. */
  write(text: string): void;
}

const MAIN = fileURLToPath(new URL('./command-main.ts', import.meta.url));

/** `stdin`: null leaves it open. `stdoutFile`: what stdout goes into; default: into the result. */
export function startCommand(
  args: readonly string[],
  config: Partial<Config>,
  stdin: string | Uint8Array | null = '',
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
  const lookAll = (): void => {
    for (const look of waiting) look();
  };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    lookAll();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    lookAll();
  });
  // A command that refuses early reads no further.
  child.stdin.on('error', () => {});
  if (stdin !== null) child.stdin.end(stdin);
  const result = once(child, 'close').then(([code]) => ({ code, stdout, stderr }));
  const until = (what: string, isSo: () => boolean): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (isSo()) resolve();
    };
    waiting.add(look);
    look();
    void result.then((end) => reject(new Error(`ended without ${what}: ${end.stderr}`)));
    return promise.finally(() => waiting.delete(look));
  };
  return {
    result,
    said: (pattern) => until(`${pattern}`, () => pattern.test(stderr)),
    printed: (lines = 1) => until(`${lines} lines`, () => stdout.split('\n').length > lines),
    signal: (name) => child.kill(name),
    write: (text) => void child.stdin.write(text),
    closeStdout: () => child.stdout?.destroy(),
    closeStderr: () => child.stderr.destroy(),
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
