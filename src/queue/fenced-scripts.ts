/**
 * BullMQ's own Lua, taken from the installed package and put behind our fence.
 *
 * `RedisQueueBackend.execCommand` is the only way from BullMQ to its scripts; the resilient backend
 * sends `holdfast:<name>` there instead, with the fence's key and arguments added. Scripts that only
 * read run as they are: reading late harms nobody.
 */
import { createRequire } from 'node:module';
import type { Cluster, Redis } from 'ioredis';
import type { Fence, QueueLedger } from './ledger.ts';
import { BEGIN_KEYS } from './lua/begin.ts';
import { CLAIM, CLAIM_KEY_COUNT, numberedAndClaimed } from './lua/claim.ts';
import { FENCE_PRELUDE, NUMBERED_PRELUDE } from './lua/fence.ts';
import { HEARTBEAT } from './lua/heartbeat.ts';
import { ISLAND_CLAIM, ISLAND_CLAIM_KEY_COUNT } from './lua/island-claim.ts';
import { KEY_TYPES } from './lua/key-types.ts';
import { RETAKE, RETAKE_KEY_COUNT } from './lua/retake.ts';
import { together } from './lua/together.ts';
import { BULLMQ_KEYS } from './queue-keys.ts';
import { Script } from './script-command.ts';

interface BullScript {
  name: string;
  content: string;
  keys: number;
}

/** The package exports no entry for its scripts; it has no `exports` map, so the file is reachable. */
const scripts = createRequire(import.meta.url)('bullmq/dist/cjs/scripts/index.js') as Record<
  string,
  BullScript
>;

/** Scripts that change nothing: safe at any time, in any epoch. */
const READ_ONLY: ReadonlySet<string> = new Set([
  'getCounts',
  'getCountsPerPriority',
  'getDependencyCounts',
  'getJobScheduler',
  'getJobs',
  'getMetrics',
  'getRanges',
  'getRateLimitTtl',
  'getState',
  'getStateV2',
  'isFinished',
  'isJobInList',
  'isMaxed',
  'paginate',
]);

/** Scripts that add a job, and what ends a flow's transaction: for a Holdfast client they also run with a number. */
const NUMBERED: ReadonlyMap<string, string> = new Map(
  [
    'addDelayedJob',
    'addParentJob',
    'addPrioritizedJob',
    'addStandardJob',
    'releaseParentIfNoPendingDependencies',
  ].map((name) => [name, `numbered:${name}`]),
);

const keyCounts: ReadonlyMap<string, number> = new Map(
  Object.values(scripts).map((script) => [script.name, script.keys]),
);

export function isFenced(command: string): boolean {
  return !READ_ONLY.has(command);
}

const names = new Map<string, string>();

/** Name under which a script is defined on our clients. */
export function commandName(command: string): string {
  let name = names.get(command);
  if (name === undefined) {
    name = `holdfast:${command}`;
    names.set(command, name);
  }
  return name;
}

/** The form of an adding script that takes a number; `undefined` for any other script. */
export function numberedName(command: string): string | undefined {
  return NUMBERED.get(command);
}

/** As `numberedName`, for a job that a living worker may have run already: it is given back to it. */
export function claimedName(command: string): string {
  return `claimed:${command}`;
}

/** Number of KEYS of BullMQ's script, which precede its ARGV in `args`. */
export function keyCount(command: string): number {
  const count = keyCounts.get(command);
  if (count === undefined) throw new Error(`BullMQ has no script "${command}"`);
  return count;
}

/** What becomes of a job that ran from the journal, as one script; see `lua/together.ts`. */
const TOGETHER: ReadonlyMap<string, string> = new Map([
  ...[
    'addStandardJob',
    'addPrioritizedJob',
    'addDelayedJob',
    'updateData',
    'updateProgress',
    'addLog',
    'moveToFinished',
  ].map((name): [string, string] => [name, contentOf(name)]),
  ['island-claim', ISLAND_CLAIM],
]);

function contentOf(name: string): string {
  const script = Object.values(scripts).find((each) => each.name === name);
  if (!script) throw new Error(`BullMQ has no script "${name}"`);
  return script.content;
}

/** Every script by its name, fenced where it writes, and our own. */
const all: ReadonlyMap<string, Script> = new Map([
  ...Object.values(scripts).map(({ name, content, keys }): [string, Script] => [
    name,
    isFenced(name) ? new Script(FENCE_PRELUDE + content, keys + 1) : new Script(content, keys),
  ]),
  ...Object.values(scripts).flatMap(({ name, content, keys }): [string, Script][] => {
    const numbered = NUMBERED.get(name);
    if (!numbered) return [];
    const claimed = numberedAndClaimed(NUMBERED_PRELUDE, content);
    return [
      [numbered, new Script(NUMBERED_PRELUDE + content, keys + 1)],
      [claimedName(name), new Script(claimed, keys + 1 + CLAIM_KEY_COUNT)],
    ];
  }),
  ['retake', new Script(RETAKE, RETAKE_KEY_COUNT)],
  ['key-types', new Script(KEY_TYPES, Object.keys(BULLMQ_KEYS).length)],
  ['claim', new Script(CLAIM, CLAIM_KEY_COUNT)],
  ['together', new Script(together(NUMBERED_PRELUDE, TOGETHER), 1)],
  // As many keys as there are queues: the number of keys comes with each call.
  ['heartbeat', new Script(HEARTBEAT, undefined)],
]);

export function scriptOf(name: string): Script {
  const script = all.get(name);
  if (!script) throw new Error(`there is no script "${name}"`);
  return script;
}

/** Defines every script for BullMQ's adapter. */
export function defineScripts(client: Redis | Cluster): void {
  for (const [name, { lua, keys }] of all) {
    client.defineCommand(commandName(name), {
      lua,
      ...(keys === undefined ? {} : { numberOfKeys: keys }),
    });
  }
}

/** A pipeline or transaction of ioredis, behind BullMQ's adapter or not. */
export interface Transaction {
  eval(lua: string, keys: number, ...args: unknown[]): unknown;
  evalsha(sha: string, keys: number, ...args: unknown[]): unknown;
  exec(): Promise<[Error | null, unknown][]>;
}

/** The scripts that each transaction brings along already. */
const broughtBy = new WeakMap<object, Set<Script>>();

/**
 * Queues a script on a transaction that brings its text along, once each: Redis may forget a script at any
 * time (SCRIPT FLUSH; since 7.4 it also evicts the least used), and in a transaction that would be known
 * when the others have acted.
 */
export function queueScript(
  transaction: Transaction,
  command: string,
  args: readonly unknown[],
): void {
  const script = scriptOf(command);
  let brought = broughtBy.get(transaction);
  if (!brought) {
    brought = new Set();
    broughtBy.set(transaction, brought);
  }
  if (brought.has(script)) transaction.evalsha(script.sha, script.keys!, ...args);
  else transaction.eval(script.lua, script.keys!, ...args);
  brought.add(script);
}

/** A request's number in its series. */
export interface NumberArgs {
  key: string;
  before: number;
  number: number;
}

/** A script's arguments with a number instead of the fence. */
export function numberedArgs(
  command: string,
  args: readonly unknown[],
  number: NumberArgs,
): unknown[] {
  const keys = keyCount(command);
  const numbered = new Array<unknown>(args.length + 3);
  for (let i = 0; i < keys; i += 1) numbered[i] = args[i];
  numbered[keys] = number.key;
  for (let i = keys; i < args.length; i += 1) numbered[i + 1] = args[i];
  numbered[args.length + 1] = String(number.before);
  numbered[args.length + 2] = String(number.number);
  return numbered;
}

/** As `numberedArgs`, for the form of the script that gives the job back to a living worker. */
export function claimedArgs(
  ledger: QueueLedger,
  jobId: string,
  command: string,
  args: readonly unknown[],
  number: NumberArgs,
): unknown[] {
  const numbered = numberedArgs(command, args, number);
  const claim = claimArgs(ledger, [jobId]);
  const keys = keyCount(command) + 1;
  return [
    ...numbered.slice(0, keys),
    ...claim.slice(0, CLAIM_KEY_COUNT),
    ...numbered.slice(keys),
    ...claim.slice(CLAIM_KEY_COUNT),
  ];
}

/** A script and its arguments, keys first. */
export interface Call {
  script: string;
  args: readonly unknown[];
}

/** Arguments of `together`. */
export function togetherArgs(calls: readonly Call[], number: NumberArgs): unknown[] {
  const all: unknown[] = [number.key];
  for (const { script, args } of calls) {
    const keys = script === 'island-claim' ? ISLAND_CLAIM_KEY_COUNT : keyCount(script);
    all.push(script, keys, args.length - keys, ...args);
  }
  all.push(String(number.before), String(number.number));
  return all;
}

/** Arguments of `claim`; without ids it looks at every forgotten run of a schedule. */
export function claimArgs(ledger: QueueLedger, jobIds: readonly string[]): string[] {
  const keys = BEGIN_KEYS.map((type) => ledger.toKey(type));
  return [...keys, ledger.key('ran'), ledger.toKey(''), ...jobIds];
}

/**
 * A script's arguments with the fence's key and two arguments in their places. This runs for every
 * command, hence the plain loop.
 */
export function fenceArgs(command: string, args: readonly unknown[], fence: Fence): unknown[] {
  const keys = keyCount(command);
  const fenced = new Array<unknown>(args.length + 3);
  for (let i = 0; i < keys; i += 1) fenced[i] = args[i];
  fenced[keys] = fence.epochKey;
  for (let i = keys; i < args.length; i += 1) fenced[i + 1] = args[i];
  fenced[args.length + 1] = Math.ceil(fence.deadline);
  fenced[args.length + 2] = fence.epoch;
  return fenced;
}
