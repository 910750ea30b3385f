/** The folder of a replica that was killed: its newest entries are in the log, and nobody has the lock. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Folder, folderOf } from '../../src/journal/folder.ts';
import type { Entry } from '../../src/journal/journal.ts';
import { journalFolder, openIn } from './journal-folder.ts';

/** Makes it as `replica` below `base`. */
export async function killedWith(
  base: string,
  replica: string,
  entries: readonly Entry[],
): Promise<Folder> {
  const living = await openIn(await journalFolder());
  for (const entry of entries) await living.append(entry);
  const folder = folderOf(base, replica);
  // The lock as well would drop that of the living one: closing a file does.
  cpSync(living.path!, folder.path, {
    recursive: true,
    filter: (path) => !path.includes('lock.db'),
  });
  writeFileSync(folder.lock, '', { mode: 0o600 });
  await living.close();
  return folder;
}

/** What is in each file of a folder; but for the lock's, which looking at whose it is may touch. */
export function contentOf(folder: Folder): Map<string, Buffer> {
  const names = readdirSync(folder.path).filter((name) => !name.startsWith('lock.db'));
  return new Map(names.map((name) => [name, readFileSync(join(folder.path, name))]));
}
