/**
 * `holdfast start --watch`: the service in a child process that is started anew when a handler
 * changes. A process of its own, because Node keeps modules for ever; the old one drains first.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch as watchFolder } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../load-config.ts';
import { note, styled } from './terminal.ts';

/** Editors write a file in several steps, ms. */
const SETTLE_MS = 150;
const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));

export async function watch(args: readonly string[]): Promise<void> {
  const { config } = loadConfig();
  let child = launch(args);
  let isEnding = false;
  let timer: NodeJS.Timeout | undefined;
  let turning = Promise.resolve();

  const turn = async (file: string) => {
    if (isEnding) return;
    note(
      styled(
        'dim',
        `${file} changed: starting anew after the running jobs are done`,
        process.stderr,
      ),
    );
    if (isRunning(child)) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    if (!isEnding) child = launch(args);
  };
  for (const folder of [config.workersDir, config.configDir]) {
    try {
      const watcher = watchFolder(folder, { recursive: true }, (_event, file) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          turning = turning.then(() => turn(file ?? folder));
        }, SETTLE_MS);
      });
      watcher.on('error', (error) => note(`${folder} is watched no more: ${error.message}`));
    } catch {
      note(`${folder} cannot be watched; it does not exist`);
    }
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // Outside of a terminal it means: read secrets again.
      if (signal === 'SIGHUP' && !process.stdin.isTTY) return void child.kill(signal);
      isEnding = true;
      if (!isRunning(child)) process.exit(child.exitCode ?? 1);
      child.kill(signal);
      child.once('exit', (code) => process.exit(code ?? 0));
    });
  }
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

function launch(args: readonly string[]): ChildProcess {
  // The channel carries nothing: its end tells the child that this process is gone, however it went.
  const stdio: StdioOptions = ['inherit', 'inherit', 'inherit', 'ipc'];
  return spawn(process.execPath, [BIN, 'start', '--watched', ...args], { stdio });
}
