/**
 * How every command that is not a service runs: configuration in, exit code out. A typed error is
 * told in its own words on stderr, without a stack, and with `--json` on stdout too; an unforeseen one is left to the caller.
 */
import { type Command, InvalidArgumentError } from 'commander';
import type { Config } from '../config.ts';
import { HoldfastError } from '../errors.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import {
  assertPrinted,
  complain,
  flushed,
  hasPrinted,
  outliveReader,
  print,
  printError,
} from './terminal.ts';

/** Reads the configuration of this process. @throws ConfigError */
export type ConfigSource = () => Config | Promise<Config>;

/** Runs `act` and sets the process' exit code; the process ends when nothing is left open. */
export async function run(
  source: ConfigSource,
  act: (config: Config) => Promise<number>,
): Promise<void> {
  outliveReader();
  try {
    const code = await act(await source());
    await flushed();
    assertPrinted();
    process.exitCode = code;
  } catch (thrown) {
    const error = thrown instanceof HoldfastError ? thrown : printError();
    if (error === undefined) throw thrown;
    complain(error);
    // One document: an error in the middle of an answer is told on stderr only.
    if (isJsonWanted && !hasPrinted())
      print(JSON.stringify({ error: viewOfError(error) }, null, 2));
    process.exitCode = exitCodeOf(error);
  }
}

let isJsonWanted = false;

/** For the command that is about to run: whether `--json` was given, so that errors are JSON too. */
export function answerAsJson(wanted: boolean): void {
  isJsonWanted = wanted;
}

/** What `--json` tells of an error; the text of the remedy stands at the end of the message as well. */
export function viewOfError({ code, message, remedy }: HoldfastError): object {
  return { code, message, remedy };
}

/** Wrong arguments end with the code for usage; commander's own is 1, which means a failed job. */
export function exitsAsDocumented(command: Command): Command {
  return command.exitOverride((error) => {
    process.exit(error.exitCode === 0 ? EXIT.done : EXIT.usage);
  });
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `1500`, `1500ms`, `30s`, `5m`, `2h`, `1d` → ms; for commander's options. */
export function duration(text: string): number {
  const [, digits, unit = 'ms'] = /^(\d{1,12}(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text) ?? [];
  if (digits === undefined) {
    throw new InvalidArgumentError('Use a number of milliseconds, or 30s, 5m, 2h, 1d.');
  }
  return Math.round(Number(digits) * UNIT_MS[unit]!);
}

/** A whole number from 0; for commander's options. */
export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Use a whole number.');
  return Number(text);
}
