/**
 * Looks at the server now and then while all is well, and tells what would become an outage: a line
 * when it begins and one when it ends, damped. Opens no breaker and fails silently: a server that
 * refuses INFO, or does not answer, is the pulse's business.
 */
import type { Cluster, Redis } from 'ioredis';
import { type ConditionName, describeCondition } from '../redis/condition-catalogue.ts';
import {
  type Finding,
  findExpiry,
  findSlowness,
  findWarnings,
  type Look,
} from '../redis/warnings.ts';
import type { Clock } from '../time.ts';
import type { Generation } from './generation.ts';

/** A warning that stands. */
export interface Warning {
  name: ConditionName;
  /** ms since the epoch */
  since: number;
  evidence: string;
  remedy: string;
}

/** One INFO in this time: 0.1 to 0.2 ms of the server's. */
export const LOOK_EVERY_MS = 30_000;
/** A fleet shares the looks: this long for each replica, ms. */
const LOOK_PER_REPLICA_MS = 100;
/** The first look comes when the start is over, ms. */
const FIRST_LOOK_MS = 2000;
/** Looks that a trend is told from: ten minutes. */
const LOOKS_MAX = 20;
/** A warning is told at most once in this time: one that comes and goes is one story, ms. */
const TOLD_EVERY_MS = 10 * 60_000;

export interface EarlyWarningsDeps {
  clock: Clock;
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  generation(): Generation | undefined;
  replicas(): number;
  /** Of the last pulse, ms. */
  roundTripMs(): number;
  /** Other paces, for tests. */
  lookEveryMs?: number;
}

export class EarlyWarnings {
  readonly #deps: EarlyWarningsDeps;
  readonly #standing = new Map<ConditionName, Warning>();
  /** When each was last told to begin, monotonic ms, and whether its end is to be told. */
  readonly #told = new Map<ConditionName, { at: number; isOpen: boolean }>();
  #looks: Look[] = [];
  #cancel: (() => void) | undefined;
  #isStopped = false;

  constructor(deps: EarlyWarningsDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#lookIn(Math.min(FIRST_LOOK_MS, this.#deps.lookEveryMs ?? FIRST_LOOK_MS));
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** What stands now, in the order in which it began. */
  list(): readonly Warning[] {
    return [...this.#standing.values()];
  }

  #lookIn(delayMs: number): void {
    this.#cancel = this.#deps.clock.after(delayMs, () => {
      void this.#look().finally(() => {
        const { lookEveryMs = LOOK_EVERY_MS, replicas } = this.#deps;
        if (!this.#isStopped) {
          this.#lookIn(Math.max(lookEveryMs, replicas() * LOOK_PER_REPLICA_MS));
        }
      });
    });
  }

  async #look(): Promise<void> {
    const generation = this.#deps.generation();
    // While Redis is away what was seen last still stands.
    if (!generation) return;
    try {
      const askedAt = this.#deps.clock.now();
      // Ends with its generation at the latest.
      const info = await infoOf(generation.client);
      const tookMs = this.#deps.clock.now() - askedAt;
      if (generation.alive && !this.#isStopped) this.#judge(info, tookMs, generation.client);
    } catch {
      // An outage, or INFO is not allowed here.
    }
  }

  #judge(infos: readonly string[], tookMs: number, client: Redis | Cluster): void {
    const { clock, roundTripMs } = this.#deps;
    const now = clock.now();
    const had = new Set<string>(this.#standing.keys());
    const found = new Map<ConditionName, Finding>();
    for (const info of infos) {
      // Growth is told of a single server only.
      const before = infos.length === 1 ? this.#looks : [];
      const { findings, look } = findWarnings(info, had, before, now);
      for (const finding of findings) found.set(finding.name, finding);
      if (infos.length === 1) this.#looks = [...this.#looks, look].slice(-LOOKS_MAX);
    }
    const expiry = findExpiry(certificateEnd(client), clock.wall());
    if (expiry) found.set(expiry.name, expiry);
    const slowness = findSlowness(Math.min(tookMs, roundTripMs()), had.has('slow'));
    if (slowness) found.set(slowness.name, slowness);
    for (const finding of found.values()) this.#stands(finding);
    for (const name of this.#standing.keys()) if (!found.has(name)) this.#ended(name);
  }

  #stands({ name, evidence }: Finding): void {
    const { clock, log } = this.#deps;
    const { cause, meaning, remedy } = describeCondition(name);
    const since = this.#standing.get(name)?.since ?? clock.wall();
    this.#standing.set(name, { name, since, evidence, remedy });
    const told = this.#told.get(name);
    if (told && (told.isOpen || clock.now() - told.at < TOLD_EVERY_MS)) return;
    this.#told.set(name, { at: clock.now(), isOpen: true });
    log.warn(
      { event: 'warning.began', condition: name, cause, evidence },
      `${meaning}: ${evidence}. ${remedy}`,
    );
  }

  #ended(name: ConditionName): void {
    const { clock, log } = this.#deps;
    const since = this.#standing.get(name)?.since ?? clock.wall();
    this.#standing.delete(name);
    const told = this.#told.get(name);
    if (!told?.isOpen) return;
    told.isOpen = false;
    const durationMs = clock.wall() - since;
    log.info(
      { event: 'warning.ended', condition: name, durationMs },
      `over: ${describeCondition(name).meaning}`,
    );
  }
}

/** INFO of the server, or of each master of a Cluster. */
async function infoOf(client: Redis | Cluster): Promise<string[]> {
  const nodes = 'nodes' in client ? client.nodes('master') : [client];
  return await Promise.all(nodes.map((node) => node.info()));
}

function certificateEnd(client: Redis | Cluster): string | undefined {
  const { stream } = client as {
    stream?: { getPeerCertificate?(): { valid_to?: string } | undefined };
  };
  return stream?.getPeerCertificate?.()?.valid_to;
}
