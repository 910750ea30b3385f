/** Writes a document into OUTPUT_DIR under the job's id: whole or not at all, a rerun replaces it. */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Ids that are safe as file names; the document of any other job is in its result only. */
const FILE_NAME = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const NAME_CHARS_MAX = 200;

/** @returns the path, or undefined when the id cannot be a file name */
export async function saveDocument(
  folder: string,
  jobId: string,
  markdown: string,
): Promise<string | undefined> {
  if (!FILE_NAME.test(jobId) || jobId.length > NAME_CHARS_MAX) return undefined;
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${jobId}.md`);
  const draft = join(folder, `.${jobId}.${randomUUID()}.tmp`);
  try {
    await writeFile(draft, markdown, { mode: 0o644 });
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  return path;
}
