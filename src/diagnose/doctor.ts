/**
 * Runs the checks in their order, each with a deadline, and the whole within the sum that a person waits
 * for. When the way to Redis breaks at one layer, later ones are skipped with that reason. Nothing that
 * a check throws ends the run, and no secret leaves it.
 */
import { readFileSync } from 'node:fs';
import { ConfigError } from '../errors.ts';
import type { LoadedConfig } from '../load-config.ts';
import { conditionOf } from '../redis/conditions.ts';
import { type Clock, systemClock } from '../time.ts';
import { acl } from './acl.ts';
import { auth } from './auth.ts';
import { bullmq } from './bullmq.ts';
import { clock as clockCheck } from './clock.ts';
import { configuration } from './configuration.ts';
import { container } from './container.ts';
import { dns } from './dns.ts';
import { environment } from './environment.ts';
import {
  capital,
  exitCodeFor,
  type Finding,
  fail,
  type Judged,
  ofCondition,
  skip,
} from './finding.ts';
import { journal } from './journal.ts';
import { latency } from './latency.ts';
import { isNotAllowed, isReply } from './link.ts';
import { protocol } from './protocol.ts';
import { resources } from './resources.ts';
import type { Check, Scene } from './scene.ts';
import { hider, secretsOf, secretsOfEnvironment } from './secrets.ts';
import { server } from './server.ts';
import { targetOf } from './target.ts';
import { tcp } from './tcp.ts';
import { tls } from './tls.ts';

const ORDER: readonly Check[] = [
  environment,
  dns,
  tcp,
  tls,
  protocol,
  auth,
  acl,
  latency,
  server,
  configuration,
  resources,
  bullmq,
  journal,
  clockCheck,
  container,
];
/** Whatever the single checks take, the whole ends by then, ms. */
const RUN_MS = 40_000;
const RUN_DEEP_MS = 90_000;
/** `--deep` looks at more, and gets this many times the time. */
const DEEP_FACTOR = 3;

export interface Report {
  /** Of Holdfast. */
  version: string;
  /** When it began, ISO 8601. */
  at: string;
  /** What was looked at, without a password. */
  target: string;
  status: 'pass' | 'warn' | 'fail';
  exitCode: 0 | 1 | 2;
  durationMs: number;
  counts: Record<Finding['status'], number>;
  findings: Finding[];
}

export interface DoctorOptions {
  isDeep?: boolean;
  clock?: Clock;
  /** Where `/proc` and `/sys` are. */
  root?: string;
  /** For secrets of a configuration that is no good; default none. */
  env?: Readonly<Record<string, string | undefined>>;
  version: string;
  /** Hears when a check begins. */
  onStart?: (check: Pick<Check, 'name' | 'label'>) => void;
  /** Hears what it found, without secrets. */
  onEnd?: (check: Pick<Check, 'name' | 'label'>, findings: readonly Finding[]) => void;
}

/** `source` gives the configuration, or throws a ConfigError, which is a finding too. */
export async function diagnose(
  source: () => LoadedConfig,
  options: DoctorOptions,
): Promise<Report> {
  const clock = options.clock ?? systemClock;
  const from = clock.now();
  const at = new Date(clock.wall()).toISOString();
  const findings: Finding[] = [];
  const hidden = secretsOfEnvironment(options.env ?? {});
  let target = 'none';
  const add = (check: Check, judged: readonly Judged[], hide: (text: string) => string): void => {
    const told = judged.map((finding) => findingOf(check, finding, hide));
    findings.push(...told);
    options.onEnd?.(check, told);
  };
  options.onStart?.(environment);
  const loaded = load(source);
  if (Array.isArray(loaded)) {
    add(environment, loaded, hider(hidden));
    for (const check of ORDER.slice(1)) {
      options.onStart?.(check);
      const judged =
        check === container
          ? await container.run(
              { root: options.root ?? '/' } as Scene,
              new AbortController().signal,
            )
          : [skip('Not looked at: the configuration cannot be used')];
      add(check, judged, hider(hidden));
    }
  } else {
    const hide = hider([...hidden, ...secretsOf(loaded.config), passwordFileOf(loaded)]);
    const scene: Scene = {
      loaded,
      clock,
      isDeep: options.isDeep ?? false,
      root: options.root ?? '/',
      target: targetOf(loaded.config),
    };
    target = hide(scene.target?.name ?? 'none');
    try {
      await runAll(scene, from, options, (check, judged) => add(check, judged, hide));
    } finally {
      scene.link?.close();
    }
  }
  const exitCode = exitCodeFor(findings);
  const count = (status: Finding['status']): number =>
    findings.filter((finding) => finding.status === status).length;
  return {
    version: options.version,
    at,
    target,
    status: (['pass', 'warn', 'fail'] as const)[exitCode],
    exitCode,
    durationMs: Math.round(clock.now() - from),
    counts: { pass: count('pass'), warn: count('warn'), fail: count('fail'), skip: count('skip') },
    findings,
  };
}

async function runAll(
  scene: Scene,
  from: number,
  { onStart }: DoctorOptions,
  add: (check: Check, judged: readonly Judged[]) => void,
): Promise<void> {
  const endAt = from + (scene.isDeep ? RUN_DEEP_MS : RUN_MS);
  /** Why the way to Redis ends. */
  let broken: string | undefined =
    scene.target === undefined ? 'no Redis is configured' : undefined;
  for (const check of ORDER) {
    if (check !== environment) onStart?.(check);
    const leftMs = endAt - scene.clock.now();
    if (check.layer !== 'local' && broken !== undefined) {
      add(check, [skip(`Not looked at: ${broken}`)]);
    } else if (leftMs <= 0) {
      add(check, [skip('Not looked at: the time of the whole run is over')]);
    } else {
      const { judged, isLost } = await runOne(check, scene, leftMs);
      add(check, judged);
      const fault = judged.find(({ status }) => status === 'fail');
      if (check.layer === 'way' && fault !== undefined) broken = `${check.label} failed`;
      if (isLost && check.layer !== 'local') broken = `Redis stopped answering (${check.label})`;
    }
  }
}

/** One check: what it found, or what ended it. `isLost`: Redis answers no more. */
async function runOne(
  check: Check,
  scene: Scene,
  leftMs: number,
): Promise<{ judged: Judged[]; isLost: boolean }> {
  const deadlineMs = Math.min(leftMs, check.deadlineMs * (scene.isDeep ? DEEP_FACTOR : 1));
  const controller = new AbortController();
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const cancel = scene.clock.after(deadlineMs, () => resolve('late'));
  const running = check.run(scene, controller.signal);
  running.catch(() => undefined);
  try {
    const judged = await Promise.race([running, late]);
    if (judged !== 'late') return { judged, isLost: false };
    controller.abort();
    return {
      judged: [
        fail(
          `${check.label} did not come to its end`,
          `stopped after ${Math.round(deadlineMs)} ms`,
          'Run the doctor again; if it stays so, look at the load of this host and of Redis.',
          check.layer === 'local' ? undefined : 'timeout',
        ),
      ],
      isLost: true,
    };
  } catch (error) {
    return judgeThrown(error);
  } finally {
    cancel();
  }
}

/** What a check could not catch itself. */
function judgeThrown(error: unknown): { judged: Judged[]; isLost: boolean } {
  const text = error instanceof Error ? error.message : String(error);
  if (isNotAllowed(error)) {
    return {
      judged: [
        skip('Not allowed here', text, 'Give the user the right that is named, to see more.'),
      ],
      isLost: false,
    };
  }
  const condition = conditionOf(error);
  if (condition === 'loading') {
    return { judged: [skip('Not looked at: Redis is loading its dataset', text)], isLost: false };
  }
  if (condition === 'cluster-down') {
    return { judged: [skip('Not looked at: the Cluster does not serve it', text)], isLost: false };
  }
  if (condition !== undefined)
    return { judged: [ofCondition(condition, text)], isLost: !isReply(error) };
  return {
    judged: [
      fail('This check itself failed', text, 'Report it as a bug of Holdfast with this output.'),
    ],
    isLost: false,
  };
}

function load(source: () => LoadedConfig): LoadedConfig | Judged[] {
  try {
    return source();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ where, value, allowed }) =>
      fail(`${where} cannot be used`, value, `${capital(allowed)}.`),
    );
  }
}

function findingOf(check: Check, judged: Judged, hide: (text: string) => string): Finding {
  const { title, evidence, remedy } = judged;
  return {
    check: check.name,
    ...judged,
    title: hide(title),
    evidence: hide(evidence),
    remedy: hide(remedy),
  };
}

function passwordFileOf({ config }: LoadedConfig): string | undefined {
  const { passwordFile } = config.redis;
  try {
    return passwordFile === undefined ? undefined : readFileSync(passwordFile, 'utf8').trim();
  } catch {
    return undefined;
  }
}
