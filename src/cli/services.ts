/**
 * Which Holdfast services run on this machine: from the notes that they leave in the data folder,
 * and at the configured address. A note of a service that died, or another program on the port, is
 * not believed: it must answer as Holdfast does.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { reasonOf } from './reason.ts';

/** On loopback an answer takes a millisecond; a busy event loop a few hundred. */
const PROBE_MS = 2000;
/** Notes read at most: a folder shared by more replicas than this needs only one that answers. */
const NOTES_MAX = 64;

/** `service-<replica>.json` in the data folder, as a running service writes it. */
const noteSchema = z.object({
  pid: z.int().positive(),
  http: z.string().nullish(),
  version: z.string().optional(),
});

/** The token that may do most; undefined: none is set. */
export function bestToken({ http }: Config): string | undefined {
  return http.token ?? http.writeToken ?? http.readToken;
}

export interface RunningService {
  url: string;
  /** The body of its `/readyz`. */
  readiness: Readiness;
}

const readinessSchema = z.looseObject({
  service: z.literal('holdfast'),
  status: z.string(),
  version: z.string().optional(),
  replica: z.string().optional(),
  breaker: z.string().optional(),
  condition: z.string().optional(),
  outageId: z.string().optional(),
  since: z.string().optional(),
  reason: z.string().optional(),
  /** What may become an outage. */
  warnings: z
    .array(z.looseObject({ name: z.string(), evidence: z.string(), remedy: z.string() }))
    .optional(),
});
export type Readiness = z.infer<typeof readinessSchema>;

/** All services that answer, in the order in which they were found, and what did not answer. */
export async function runningServices(
  config: Config,
  url: string | undefined,
): Promise<{ services: RunningService[]; tried: string[] }> {
  const urls = url === undefined ? await candidates(config) : [url.replace(/\/+$/, '')];
  const answers = await Promise.all(urls.map((candidate) => ask(candidate, bestToken(config))));
  return {
    services: answers.filter((answer) => typeof answer !== 'string'),
    tried: answers.filter((answer) => typeof answer === 'string'),
  };
}

async function candidates({ dataDir, http }: Config): Promise<string[]> {
  const urls = await notedUrls(dataDir);
  const name = http.host.includes(':') ? `[${http.host}]` : http.host;
  if (http.enabled && http.port !== 0) urls.push(`http://${name}:${http.port}`);
  return [...new Set(urls.map(fromHere))];
}

/** A service that listens on all addresses is asked on loopback. */
function fromHere(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:');
}

async function notedUrls(dataDir: string): Promise<string[]> {
  const files = await readdir(dataDir).catch(() => []);
  const notes = files.filter((file) => /^service-.*\.json$/.test(file)).slice(0, NOTES_MAX);
  const urls = await Promise.all(notes.map((file) => notedUrl(join(dataDir, file))));
  return urls.filter((url) => url !== undefined);
}

async function notedUrl(path: string): Promise<string | undefined> {
  try {
    const { pid, http } = noteSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    return isAlive(pid) ? (http ?? undefined) : undefined;
  } catch {
    // Half written, removed meanwhile, or another user's: the next candidate is asked.
    return undefined;
  }
}

/** The service at `url`, or why it is none, as a line for people. */
async function ask(url: string, token: string | undefined): Promise<RunningService | string> {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    return `${url}: not an http:// or https:// address`;
  }
  try {
    const response = await fetch(`${url}/readyz`, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(PROBE_MS),
      redirect: 'manual',
    });
    const readiness = readinessSchema.safeParse(await response.json().catch(() => undefined));
    if (readiness.success) return { url, readiness: readiness.data };
    return `${url}: another program answers there (HTTP ${response.status}), not Holdfast`;
  } catch (error) {
    const isLate = error instanceof Error && error.name === 'TimeoutError';
    return `${url}: ${isLate ? `no answer within ${PROBE_MS} ms` : reasonOf(error)}`;
  }
}

/** A process of another user counts: it answers EPERM. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
