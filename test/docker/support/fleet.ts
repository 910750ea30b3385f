/**
 * The compose file as a user starts it, with the tests' handler added: so many replicas, a Redis that can
 * be killed or stopped, and what the replicas did. Everything is told by the replicas themselves, over
 * their published ports or their shared volume; the tests never talk to Redis.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { docker, dockerSays, IMAGE, inspect } from './docker.ts';

const TOKEN = 'a-token-of-the-tests';
/** As docker-compose.yml says, and some more for a slow machine. */
const STOP_MS = 120_000;
const LOOK_MS = 500;
const BATCH_MAX = 1000;
const ANSWER_MS = 10_000;

export interface Replica {
  /** Container id. */
  id: string;
  url: string;
}

interface ContainerState {
  State: { Health?: { Status: string } };
  Name: string;
  NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[] | null> };
}

export interface Accepted {
  id: string;
  stored: 'redis' | 'journal';
}

/** The fields of a line that the tests look at; `id` and `status` are the example app's. */
export interface LogLine {
  event?: string;
  replica?: string;
  queue?: string;
  jobId?: string;
  id?: string;
  status?: number;
}

export class Fleet {
  readonly #project: string;

  constructor(name: string) {
    this.#project = `holdfast-test-${name}`;
  }

  /** `docker compose <args>` for this project, with both files. */
  async compose(...args: string[]): Promise<string> {
    const files = ['-f', 'docker-compose.yml', '-f', 'test/docker/compose.load.yml'];
    const { stdout } = await dockerSays(
      ['compose', '-p', this.#project, ...files, ...args],
      STOP_MS,
      { ...process.env, HOLDFAST_IMAGE: IMAGE, HTTP_TOKEN: TOKEN },
    );
    return stdout;
  }

  /** Starts everything anew, whatever a run that was cut short has left. */
  async start(workers: number): Promise<void> {
    await this.down();
    await this.scale(workers);
  }

  /** Starts everything, or changes the number of replicas; waits until each new one can keep jobs. */
  async scale(workers: number): Promise<void> {
    await this.compose('up', '-d', '--scale', `worker=${workers}`);
    await until(async () => {
      const replicas = await this.replicas();
      if (replicas.length !== workers) return false;
      const ready = await Promise.all(replicas.map(({ url }) => statusOf(`${url}/readyz`)));
      return ready.every((status) => status === 200);
    }, 'every replica is ready');
  }

  /** Takes replicas away without touching Redis: `up` would start it again. */
  async scaleWorkersOnly(workers: number): Promise<void> {
    await this.compose('up', '-d', '--no-deps', '--scale', `worker=${workers}`, 'worker');
  }

  async replicas(): Promise<Replica[]> {
    const ids = await this.#containers('worker');
    return Promise.all(
      ids.map(async (id) => {
        const { NetworkSettings } = await inspect<ContainerState>(id);
        const [published] = NetworkSettings.Ports['8080/tcp'] ?? [];
        return { id, url: `http://${published?.HostIp}:${published?.HostPort}` };
      }),
    );
  }

  async health(id: string): Promise<string | undefined> {
    return (await inspect<ContainerState>(id)).State.Health?.Status;
  }

  async killRedis(): Promise<void> {
    await docker(['kill', '--signal', 'KILL', (await this.#containers('redis'))[0]!]);
  }

  async stopRedis(): Promise<void> {
    await this.compose('stop', 'redis');
  }

  async startRedis(): Promise<void> {
    await this.compose('start', 'redis');
  }

  /** Adds `count` jobs that take `ms` each, through `through` or any replica; resolves to their ids. */
  async enqueue(count: number, ms: number, through?: Replica): Promise<string[]> {
    const replica = through ?? (await this.replicas())[0];
    const ids: string[] = [];
    while (ids.length < count) {
      const jobs = Array.from({ length: Math.min(BATCH_MAX, count - ids.length) }, () => ({
        data: { ms },
      }));
      const { status, body } = await ask(`${replica!.url}/v1/queues/count/jobs`, { jobs });
      if (status !== 202) throw new Error(`enqueue: ${status} ${JSON.stringify(body)}`);
      ids.push(...(body as { jobs: Accepted[] }).jobs.map(({ id }) => id));
    }
    return ids;
  }

  /** How many jobs of the tests' queue are in each state, as one replica sees it. */
  async counts(): Promise<Record<string, number> | null> {
    const [replica] = await this.replicas();
    const { body } = await ask(`${replica!.url}/v1/queues`);
    const { queues } = body as { queues: { queue: string; counts: Record<string, number> }[] };
    return queues.find(({ queue }) => queue === 'count')?.counts ?? null;
  }

  /** Resolves when nothing of the tests' queue is left to do. */
  async finished(completed: number): Promise<void> {
    await until(
      async () => (await this.counts())?.completed === completed,
      `${completed} jobs are completed`,
      async () => JSON.stringify(await this.counts()),
    );
  }

  /** Runs of every job so far, by its id, and by the replica that ran it. */
  async runs(): Promise<{ byJob: Map<string, number>; byReplica: Map<string, number> }> {
    const [replica] = await this.replicas();
    const listing = await docker([
      ...['exec', replica!.id, 'sh', '-c'],
      'cd /data/output/runs && for f in *; do sed "s/^/$f /" "$f"; done',
    ]);
    const byJob = new Map<string, number>();
    const byReplica = new Map<string, number>();
    for (const line of listing.trimEnd().split('\n')) {
      const [host, job] = line.split(' ') as [string, string];
      byJob.set(job, (byJob.get(job) ?? 0) + 1);
      byReplica.set(host, (byReplica.get(host) ?? 0) + 1);
    }
    return { byJob, byReplica };
  }

  /** Every line that a service's present containers have written. @throws SyntaxError if one is no JSON */
  async logLines(service = 'worker'): Promise<LogLine[]> {
    const text = await this.compose('logs', '--no-color', '--no-log-prefix', service);
    const lines = text.split('\n').filter((line) => line !== '');
    // Compose v1 begins with a line of its own.
    if (lines[0]?.startsWith('Attaching to ')) lines.shift();
    return lines.map((line) => JSON.parse(line) as LogLine);
  }

  /** Folders of replicas on the volume of the journals. */
  async journals(): Promise<string[]> {
    const listing = await this.exec('sh', '-c', 'cd /data/journal && echo */');
    return listing.trim().split(' ');
  }

  async down(): Promise<void> {
    await this.compose('down', '--volumes', '--timeout', '5');
  }

  /** `docker exec` in the first replica, as `docker compose exec worker`. */
  exec(...command: string[]): Promise<string> {
    return this.compose('exec', '-T', 'worker', ...command);
  }

  async #containers(service: string): Promise<string[]> {
    const labels = [
      `label=com.docker.compose.project=${this.#project}`,
      `label=com.docker.compose.service=${service}`,
    ];
    const ids = await docker(['ps', '-q', ...labels.flatMap((label) => ['--filter', label])]);
    return ids.split('\n').filter((id) => id !== '');
  }
}

export interface Answer {
  status: number;
  body: unknown;
}

/** Asks a replica with the token; a body makes it a POST. */
export async function ask(url: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  return { status: response.status, body: await response.json() };
}

/** The status of a probe without a token; 0 while nobody listens. */
export async function statusOf(url: string): Promise<number> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) })).status;
  } catch {
    return 0;
  }
}

/** Looks until `holds`, at most two minutes. */
export async function until(
  holds: () => Promise<boolean>,
  what: string,
  seen: () => Promise<string> = async () => '',
): Promise<void> {
  for (let looks = 0; looks < STOP_MS / LOOK_MS; looks += 1) {
    if (await holds()) return;
    await pause(LOOK_MS);
  }
  throw new Error(`It did not come to pass that ${what}. ${await seen()}`);
}
