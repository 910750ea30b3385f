/**
 * The note that a running service leaves in its data folder, so that the command line finds it. Only
 * its owner may read it; a note of a service that died is recognised by those who read it.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config.ts';
import type { Part } from './part.ts';

export class ServiceNote implements Part {
  readonly name = 'service note';
  readonly #config: Config;
  readonly #address: () => string | undefined;

  constructor(config: Config, address: () => string | undefined) {
    this.#config = config;
    this.#address = address;
  }

  /** One file per process: two replicas may share a folder. */
  get #path(): string {
    return join(this.#config.dataDir, `service-${process.pid}.json`);
  }

  async start(): Promise<void> {
    await mkdir(this.#config.dataDir, { recursive: true });
    const { version, replica } = this.#config;
    const note = { pid: process.pid, http: this.#address() ?? null, version, replica };
    await writeFile(this.#path, `${JSON.stringify(note)}\n`, { mode: 0o600 });
  }

  async stop(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}
