/**
 * The outage records on disk, one JSON file each in `outages` of the data folder: their shape, their
 * names, and how they are read. Needs no Redis and no service, changes nothing; a file that cannot be
 * understood is named and left alone.
 */
import { readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { commandLine, isProcessAlive } from '../other-process.ts';

const counts = z.object({
  held: z.number(),
  journaled: z.number(),
  accepted: z.number(),
  replayed: z.number(),
  healed: z.number(),
  locksRetaken: z.number(),
  pulledBack: z.number(),
  handedBack: z.number(),
  runsLost: z.number(),
  probes: z.number(),
});

/** Absent and undefined are the same in JSON. */
const maybe = <T extends z.ZodType>(type: T) =>
  z.optional(type).transform((value): z.output<T> | undefined => value);

export const storedOutageSchema = z.object({
  format: z.literal(1),
  replica: z.string(),
  version: z.string(),
  /** Whose it is: tells whether an open record is still being written. */
  host: z.string(),
  pid: z.number(),
  commandLine: z.string(),
  /** When it was written, ms since the epoch. An open record is written at least each minute. */
  updatedAt: z.number(),
  /** A later process of the replica found it open: the one that wrote it died. */
  interrupted: z.boolean(),
  id: z.string(),
  fleetId: maybe(z.string()),
  startedAt: z.number(),
  endedAt: maybe(z.number()),
  stoppedAt: maybe(z.number()),
  conditions: z.array(z.object({ name: z.string(), at: z.number() })),
  evidence: z.array(z.object({ text: z.string(), count: z.number(), at: z.number() })),
  counts,
  identity: maybe(z.string()),
  detectMs: z.number(),
  firstJobMs: maybe(z.number()),
});
export type StoredOutage = z.infer<typeof storedOutageSchema>;

/**
 * `open`: Redis is away now. `ended`: it came back. `stopped`: the service was stopped meanwhile.
 * `interrupted`: its process died in the middle of it, so its end is not known.
 */
export type Fate = 'open' | 'ended' | 'stopped' | 'interrupted';

/** An open record that was not written for so long has nobody who writes it, ms: two summaries. */
export const SILENT_MS = 150_000;
/** Larger files are not ours: bounds of a record keep it far below. */
const FILE_BYTES_MAX = 256 * 1024;

export function folderOfOutages(dataDir: string): string {
  return join(dataDir, 'outages');
}

const FILE = /^\d{8}T\d{9}Z-[\w-]{1,64}\.json$/;

/** Names sort by time. */
export function fileNameOf({ id, startedAt }: { id: string; startedAt: number }): string {
  return `${new Date(startedAt).toISOString().replace(/[-:.]/g, '')}-${id}.json`;
}

/** Names of the records' files, oldest first; none when the folder is not there. */
export async function outageFiles(dir: string): Promise<string[]> {
  const files = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return files.filter((file) => FILE.test(file)).sort();
}

export interface Archive {
  /** Newest first. */
  outages: StoredOutage[];
  /** Files that cannot be understood. */
  unreadable: string[];
}

/** @throws the system's error when the folder is there and cannot be read */
export async function readOutages(dir: string): Promise<Archive> {
  const archive: Archive = { outages: [], unreadable: [] };
  for (const file of (await outageFiles(dir)).reverse()) {
    try {
      const text = await readFile(join(dir, file), 'utf8');
      if (text.length > FILE_BYTES_MAX) throw new Error('too large');
      archive.outages.push(storedOutageSchema.parse(JSON.parse(text)));
    } catch (error) {
      // Removed meanwhile by a service that keeps to its bound.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') archive.unreadable.push(file);
    }
  }
  return archive;
}

/** What became of an outage, as far as can be told from here. `now`: ms since the epoch. */
export function fateOf(outage: StoredOutage, now: number): Fate {
  if (outage.endedAt !== undefined) return 'ended';
  if (outage.stoppedAt !== undefined) return 'stopped';
  if (outage.interrupted || now - outage.updatedAt > SILENT_MS) return 'interrupted';
  // Process ids mean nothing on another host, or in another container.
  if (outage.host !== hostname()) return 'open';
  const lives = isProcessAlive(outage.pid) && commandLine(outage.pid) === outage.commandLine;
  return lives ? 'open' : 'interrupted';
}

/** Ids of fleet outages that begin so, as far as these records tell. */
export function findFleetIds(outages: readonly StoredOutage[], id: string): string[] {
  if (id === '') return [];
  const ids = outages.flatMap(({ fleetId }) => (fleetId?.startsWith(id) ? [fleetId] : []));
  return [...new Set(ids)];
}

/** The records of one outage of the fleet, one of each replica's outage, in the order in which they began. */
export function recordsOfFleet(
  fleetId: string,
  local: readonly StoredOutage[],
  shared: readonly StoredOutage[],
): StoredOutage[] {
  const merged = new Map<string, StoredOutage>();
  for (const outage of shared) merged.set(outage.id, outage);
  for (const outage of local) if (outage.fleetId === fleetId) merged.set(outage.id, outage);
  return [...merged.values()].sort((a, b) => a.startedAt - b.startedAt);
}

/** The outage whose id, or whose only id with this beginning, it is; several when it is not unique. */
export function findOutages(outages: readonly StoredOutage[], id: string): StoredOutage[] {
  const exact = outages.filter((outage) => outage.id === id);
  return exact.length > 0 || id === ''
    ? exact
    : outages.filter((outage) => outage.id.startsWith(id));
}
