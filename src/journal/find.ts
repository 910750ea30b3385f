/** Which folders below a base are journals. Opens no database: looks at names, and where the lock is missing at the first page. */
import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_BYTES } from './database-file.ts';
import { type Folder, layout } from './folder.ts';

/** The folders of replicas below `base`, in no order; without `ours`, which is open here. */
export function journalFolders(base: string, ours?: Folder): Folder[] {
  return readdirSync(base, { withFileTypes: true })
    .filter((child) => child.isDirectory())
    .map((child) => layout(join(base, child.name)))
    .filter((folder) => folder.path !== ours?.path && isJournal(folder));
}

/** A folder that came out of a backup may lack the lock: nothing is in that file. */
function isJournal(folder: Folder): boolean {
  return existsSync(folder.lock) || (existsSync(folder.database) && isOurs(folder.database));
}

/** Whether the first page is that of a journal, and not of somebody's own database. Closing a database that is open here drops its locks. */
function isOurs(file: string): boolean {
  const page = Buffer.alloc(PAGE_BYTES);
  try {
    const fd = openSync(file, 'r');
    try {
      readSync(fd, page, 0, PAGE_BYTES, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
  return (
    page.includes('SQLite format 3\0') &&
    page.includes('CREATE TABLE entry (') &&
    page.includes('CREATE UNIQUE INDEX entry_origin')
  );
}
