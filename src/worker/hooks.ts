/**
 * What the user wants to be told: `config/hooks.ts` may export a function for a job that starts,
 * completes or fails, and for an outage.
 *
 * What a hook must never do: change an outcome or hold a job up. One that throws or hangs is logged.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { HandlerFileError } from '../errors.ts';
import type { Clock } from '../time.ts';
import { type ImportOptions, importFile } from './import-file.ts';

/** The run that a hook is told of. Neither payload nor result: read them from the job if needed. */
export interface JobEvent {
  queue: string;
  jobId: string;
  jobName: string;
  attempt: number;
  attemptsMax: number;
}

export interface Hooks {
  onStarted?(event: JobEvent): unknown;
  onCompleted?(event: JobEvent & { durationMs: number; result: unknown }): unknown;
  /** Every failed attempt; `isFinal` when there is no other. */
  onFailed?(event: JobEvent & { durationMs: number; error: Error; isFinal: boolean }): unknown;
  /** The outage record as it is logged, at its start and at its end. */
  onOutage?(outage: Readonly<Record<string, unknown>>): unknown;
}

const HOOK_NAMES = ['onStarted', 'onCompleted', 'onFailed', 'onOutage'] as const;
const FILE_NAMES = ['hooks.ts', 'hooks.mjs', 'hooks.js'] as const;

/** A hook that has not ended after this time, ms, is reported as hanging. */
const HOOK_MS = 10_000;
/** Hooks under way at the same time; beyond it events are not told, and that is logged. */
const HOOKS_MAX = 1000;
/** One line per hook and this time, ms, however often it fails. */
const QUIET_MS = 10_000;

/** The hooks of a configuration folder; none when there is no such file. @throws HandlerFileError */
export async function loadHooks(configDir: string, options: ImportOptions = {}): Promise<Hooks> {
  const file = FILE_NAMES.map((name) => join(resolve(configDir), name)).find(existsSync);
  if (file === undefined) return {};
  const module = await importFile(file, options);
  const exported = { ...(module.default as object | undefined), ...module } as Hooks & {
    default?: unknown;
  };
  delete exported.default;
  for (const [name, hook] of Object.entries(exported)) {
    const isKnown = (HOOK_NAMES as readonly string[]).includes(name);
    if (isKnown && typeof hook === 'function') continue;
    if (!isKnown && !/^on[A-Z]/.test(name)) continue;
    throw new HandlerFileError(
      file,
      `"${name}" ${isKnown ? 'is not a function' : 'is not a hook'}.`,
      `Hooks are functions named ${HOOK_NAMES.join(', ')}.`,
    );
  }
  return exported;
}

type HookName = (typeof HOOK_NAMES)[number];
type EventOf<Name extends HookName> = Parameters<NonNullable<Hooks[Name]>>[0];

/** Calls hooks so that nothing of them comes back. */
export class HookCaller {
  readonly #hooks: Hooks;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #reportedAt = new Map<HookName, number>();
  #underWay = 0;

  constructor(hooks: Hooks, log: Logger, clock: Clock) {
    this.#hooks = hooks;
    this.#log = log;
    this.#clock = clock;
  }

  call<Name extends HookName>(name: Name, event: EventOf<Name>): void {
    const hook = this.#hooks[name] as ((event: EventOf<Name>) => unknown) | undefined;
    if (!hook) return;
    if (this.#underWay >= HOOKS_MAX) {
      this.#report(name, `is not called: ${HOOKS_MAX} calls have not ended`);
      return;
    }
    this.#underWay += 1;
    const cancel = this.#clock.after(HOOK_MS, () =>
      this.#report(name, `has not ended after ${HOOK_MS} ms`),
    );
    const ended = () => {
      cancel();
      this.#underWay -= 1;
    };
    const call = async () => await hook(event);
    call().then(ended, (error: unknown) => {
      ended();
      this.#report(name, `threw: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  #report(name: HookName, what: string): void {
    const now = this.#clock.now();
    if (now - (this.#reportedAt.get(name) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return;
    this.#reportedAt.set(name, now);
    this.#log.warn({ event: 'hook.failed', hook: name }, `the hook ${name} ${what}`);
  }
}
