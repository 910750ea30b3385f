/**
 * What a service would rescue of a damaged journal, without a change to the journal: the rescue is done to a copy
 * in a folder for temporary files, which goes when it was read.
 */
import { constants, copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { JournalError } from '../errors.ts';
import { systemClock } from '../time.ts';
import { asFault } from './fault.ts';
import { type Folder, layout } from './folder.ts';
import { openDatabase } from './rescue.ts';

export class RescuedCopy implements Disposable {
  /** Its database is sound. */
  readonly folder: Folder;
  readonly #remove: () => void;

  /** @throws JournalError if no copy can be made, or rescued */
  constructor(original: Folder) {
    const place = tmpdir();
    let path: string | undefined;
    this.#remove = () => {
      if (path !== undefined) rmSync(path, { recursive: true, force: true });
    };
    // It holds job data: it goes also where whoever reads it exits in the middle.
    process.once('exit', this.#remove);
    try {
      // Has mode 0700.
      path = mkdtempSync(join(place, 'holdfast-look-'));
      this.folder = layout(path);
      for (const file of [original.database, original.wal, original.sharedMemory]) {
        if (!existsSync(file)) continue;
        copyFileSync(file, join(path, basename(file)), constants.COPYFILE_FICLONE);
      }
      openDatabase(this.folder, systemClock.wall()).database.close();
    } catch (error) {
      this[Symbol.dispose]();
      const fault = asFault(error, place);
      throw new JournalError(
        original.path,
        `is damaged, and a copy of it cannot be rescued in ${place}: ${fault.type === 'full' ? fault.limit : fault.what}`,
        'Name a folder with room for four times the journal in TMPDIR, or let a service open the journal, which rescues it.',
        error,
      );
    }
  }

  [Symbol.dispose](): void {
    this.#remove();
    process.off('exit', this.#remove);
  }
}
