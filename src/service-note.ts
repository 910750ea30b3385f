/**
 * The note that a running service leaves in its data folder, so that the command line finds it. Only
 * its owner may read it. A service that was killed leaves its note behind: a note is believed only
 * while the process that wrote it lives on this machine, for process ids are used again.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Config } from './config.ts';
import { commandLine, isProcessAlive } from './other-process.ts';
import type { Part } from './part.ts';

const noteSchema = z.object({
  pid: z.int().positive(),
  /** Process ids mean nothing on another machine, or in another container. */
  host: z.string(),
  /** What the process was started with: tells it from a later one with its id. */
  commandLine: z.string(),
  /** An app that embeds the service would be suspended by SIGTSTP. */
  obeysSignals: z.boolean(),
  http: z.string().nullable(),
  version: z.string(),
  replica: z.string(),
});
export type Note = z.infer<typeof noteSchema>;

const NOTE_FILE = /^service-.*\.json$/;

export class ServiceNote implements Part {
  readonly name = 'service note';
  readonly #config: Config;
  readonly #address: () => string | undefined;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #path: string;

  constructor(config: Config, address: () => string | undefined, log: Pick<Logger, 'warn'>) {
    this.#config = config;
    this.#address = address;
    this.#log = log;
    // One file per process: replicas, also in containers, may share a folder.
    const host = hostname().replaceAll(/[^\w.-]/g, '_');
    this.#path = join(config.dataDir, `service-${host}-${process.pid}.json`);
  }

  /** On a full disk the service goes on without: its journal may have to give the room back. */
  async start(): Promise<void> {
    try {
      await this.#write();
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOSPC') throw err;
      const path = this.#path;
      await rm(path, { force: true });
      this.#log.warn(
        { event: 'service.not_noted', err, path },
        'no room on the disk for the note by which commands find this service: name it with --url',
      );
    }
  }

  async #write(): Promise<void> {
    const { dataDir, version, replica } = this.#config;
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await removeDeadNotes(dataDir);
    const note: Note = {
      pid: process.pid,
      host: hostname(),
      commandLine: commandLine(process.pid),
      obeysSignals: process.listenerCount('SIGTSTP') > 0,
      http: this.#address() ?? null,
      version,
      replica,
    };
    await writeFile(this.#path, `${JSON.stringify(note)}\n`, { mode: 0o600 });
  }

  async stop(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

/** The services that run on this machine with this data folder. */
export async function servicesHere(dataDir: string): Promise<Note[]> {
  const notes = await notesHere(dataDir);
  return notes.filter(({ note }) => isRunning(note)).map(({ note }) => note);
}

async function removeDeadNotes(dataDir: string): Promise<void> {
  for (const { path, note } of await notesHere(dataDir)) {
    if (!isRunning(note)) await rm(path, { force: true });
  }
}

async function notesHere(dataDir: string): Promise<{ path: string; note: Note }[]> {
  const found: { path: string; note: Note }[] = [];
  for (const file of await readdir(dataDir).catch(() => [])) {
    if (!NOTE_FILE.test(file)) continue;
    const path = join(dataDir, file);
    try {
      const note = noteSchema.parse(JSON.parse(await readFile(path, 'utf8')));
      if (note.host === hostname()) found.push({ path, note });
    } catch {
      // Half written, removed meanwhile, or not ours.
    }
  }
  return found;
}

function isRunning({ pid, commandLine: startedAs }: Note): boolean {
  return isProcessAlive(pid) && commandLine(pid) === startedAs;
}
