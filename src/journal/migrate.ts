/**
 * Brings a journal that an earlier release wrote to this release's format: one step per format, all
 * in one transaction, so that a crash leaves the old format whole. There is one format so far; a
 * release that changes it adds the step from the one before, and its damage rules to `examine.ts`.
 */
import { DatabaseSync } from 'node:sqlite';
import { FORMAT_VERSION } from './database-file.ts';
import { LOOK_WAIT_MS, readFormat } from './examine.ts';
import { unusable } from './fault.ts';
import type { Folder } from './folder.ts';

/** By the format that a step starts from; it leaves the next. */
export type Migrations = Readonly<Record<number, (db: DatabaseSync) => void>>;

const MIGRATIONS: Migrations = {};

/** @throws FaultError if no step leads on from the format that was found; nothing is changed then */
export function migrate(
  folder: Folder,
  steps: Migrations = MIGRATIONS,
  wanted = FORMAT_VERSION,
): void {
  const found = readFormat(folder.database);
  if (found === undefined || found >= wanted) return;
  const db = new DatabaseSync(folder.database, { timeout: LOOK_WAIT_MS });
  try {
    db.exec('PRAGMA synchronous = FULL; BEGIN IMMEDIATE');
    for (let format = found; format < wanted; format++) {
      const step = steps[format];
      if (step === undefined) {
        throw unusable(
          folder.path,
          `has format ${found}, which this release cannot bring to format ${wanted}`,
          'Start the release that wrote it until the journal is empty, or use another folder. Nothing was changed.',
        );
      }
      step(db);
    }
    db.prepare("UPDATE meta SET value = ? WHERE key = 'format'").run(String(wanted));
    db.exec(`PRAGMA user_version = ${wanted}; COMMIT`);
  } finally {
    // An open transaction goes back with it.
    db.close();
  }
}
