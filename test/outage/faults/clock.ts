/**
 * Loaded first by workers of rows about the clock where libfaketime is not installed: JavaScript's wall
 * clock is ahead by what a file says, in seconds. The monotonic clock goes on, as it does when a host's
 * clock is set.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const LOOK_EVERY_MS = 50;
const file = join(dirname(process.env.OUTAGE_HOSTS ?? ''), 'clock');
const now = Date.now;
const OriginalDate = Date;
let aheadMs = 0;

setInterval(() => {
  try {
    aheadMs = 1000 * Number(readFileSync(file, 'utf8'));
  } catch {
    aheadMs = 0;
  }
}, LOOK_EVERY_MS).unref();

globalThis.Date = new Proxy(OriginalDate, {
  construct: (target, args) =>
    args.length === 0 ? new target(now() + aheadMs) : Reflect.construct(target, args),
  get: (target, name) => (name === 'now' ? () => now() + aheadMs : Reflect.get(target, name)),
});
