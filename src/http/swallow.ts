/**
 * Reads on what a client sends although it is refused already: many clients (Python's among them) read
 * the answer only after they have sent all, and would meet a closed connection instead of the reason.
 * Bounded: who sends more, or slowly, is cut off.
 */
import type { IncomingMessage } from 'node:http';
import { systemClock } from '../time.ts';

const BYTES_MAX = 64 * 1024 * 1024;
const MS_MAX = 5000;

/** Resolves when all was read, or enough. Keeps nothing of it. */
export async function swallow(request: IncomingMessage): Promise<void> {
  if (request.readableEnded || request.destroyed) return;
  if (Number(request.headers['content-length'] ?? 0) > BYTES_MAX) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancel = systemClock.after(MS_MAX, resolve);
  let bytes = 0;
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > BYTES_MAX) resolve();
  };
  request.on('data', onData).once('end', resolve).once('close', resolve);
  await promise;
  cancel();
  request.removeListener('data', onData);
}
