/**
 * Looks at the write-ahead log before SQLite does. SQLite ends its recovery at the first frame that
 * does not fit its checksum, as it must after a crash, and drops all later commits in silence; here
 * a damaged log is told from one that merely ends in an unfinished write. Reads, never writes.
 * Formats: https://www.sqlite.org/walformat.html
 */
import { existsSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { PAGE_BYTES } from './database-file.ts';
import type { Folder } from './folder.ts';

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
const INDEX_HEADER_BYTES = 48;
const VERSION = 3_007_000;
/** The lowest bit tells whether checksums read the words big-endian. */
const MAGIC_LITTLE = 0x377f0682;
const MAGIC_BIG = 0x377f0683;

/**
 * A flipped bit spoils one frame's checksum, or two if it hit a checksum. More may also be a write that
 * the power cut short, out of order.
 */
const SURE_FRAMES_MAX = 2;

export type LogVerdict =
  | { type: 'sound' }
  /**
   * `repaired` is the log with its checksums made to fit, for the rows to be judged one by one. Where
   * that is not sure, its trees may be torn, and what is proven has to be looked at as well.
   */
  | { type: 'damaged'; what: string; repaired: Buffer; isRepairSure: boolean }
  | { type: 'damaged'; what: string; repaired: undefined };

export function examineLog(folder: Folder): LogVerdict {
  const log = existsSync(folder.wal) ? readFileSync(folder.wal) : Buffer.alloc(0);
  const frames = Math.max(0, Math.floor((log.length - HEADER_BYTES) / FRAME_BYTES));
  const scan = scanFrames(log, frames);
  if (scan.lastCommit > scan.lastProvenCommit) {
    const what = scan.headerIsSound
      ? `${scan.broken} of ${scan.lastCommit} pages of the write-ahead log are damaged`
      : 'the head of the write-ahead log is damaged';
    const isRepairSure = scan.broken <= SURE_FRAMES_MAX;
    return { type: 'damaged', what, repaired: repair(log, scan), isRepairSure };
  }
  const committed = committedFrames(folder, log, scan.headerIsSound);
  if (committed > scan.lastProvenCommit) {
    const what = `the write-ahead log ends after ${scan.lastProvenCommit} pages, ${committed} were written`;
    return { type: 'damaged', what, repaired: undefined };
  }
  return { type: 'sound' };
}

interface Scan {
  headerIsSound: boolean;
  bigEndian: boolean;
  salts: Buffer;
  /** Number of the last frame that ends a transaction of this log, however damaged; 0: none. */
  lastCommit: number;
  /** The same, up to where SQLite would follow. */
  lastProvenCommit: number;
  /** Frames up to `lastCommit` that do not fit the checksum of the one before. */
  broken: number;
}

function scanFrames(log: Buffer, frames: number): Scan {
  const magic = log.length >= HEADER_BYTES ? log.readUInt32BE(0) : 0;
  const bigEndian = magic === MAGIC_BIG;
  const headerIsSound =
    (magic === MAGIC_BIG || magic === MAGIC_LITTLE) &&
    log.readUInt32BE(8) === PAGE_BYTES &&
    sumFits(log, 24, sum(log, 0, 24, [0, 0], bigEndian));
  const saltsAt = headerIsSound ? 16 : HEADER_BYTES + 8;
  const salts = log.subarray(saltsAt, saltsAt + 8);
  const scan: Scan = {
    headerIsSound,
    bigEndian,
    salts,
    lastCommit: 0,
    lastProvenCommit: 0,
    broken: 0,
  };
  let isProven = headerIsSound;
  let broken = 0;
  for (let number = 1; number <= frames; number++) {
    const at = frameAt(number);
    const sumBefore = number === 1 ? 24 : frameAt(number - 1) + 16;
    const isOurs = log.subarray(at + 8, at + 16).equals(salts);
    const fits = isOurs && sumFits(log, at + 16, frameSum(log, number, sumBefore, bigEndian));
    if (!fits) broken++;
    isProven &&= fits;
    if (!isOurs || log.readUInt32BE(at + 4) === 0) continue;
    scan.lastCommit = number;
    scan.broken = broken;
    if (isProven) scan.lastProvenCommit = number;
  }
  return scan;
}

/** The log up to its last commit with all checksums made to fit what is there. */
function repair(log: Buffer, scan: Scan): Buffer {
  const pagesMax = log.readUInt32BE(frameAt(scan.lastCommit) + 4);
  const parts: Buffer[] = [];
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt32BE(MAGIC_LITTLE, 0);
  head.writeUInt32BE(VERSION, 4);
  head.writeUInt32BE(PAGE_BYTES, 8);
  scan.salts.copy(head, 16);
  let running = sum(head, 0, 24, [0, 0], false);
  head.writeUInt32BE(running[0], 24);
  head.writeUInt32BE(running[1], 28);
  parts.push(head);
  for (let number = 1; number <= scan.lastCommit; number++) {
    const frame = Buffer.from(log.subarray(frameAt(number), frameAt(number) + FRAME_BYTES));
    const page = frame.readUInt32BE(0);
    if (page === 0 || page > pagesMax) continue;
    scan.salts.copy(frame, 8);
    running = sum(frame, 0, 8, running, false);
    running = sum(frame, FRAME_HEADER_BYTES, FRAME_BYTES, running, false);
    frame.writeUInt32BE(running[0], 16);
    frame.writeUInt32BE(running[1], 20);
    parts.push(frame);
  }
  return Buffer.concat(parts);
}

/**
 * How many frames the last owner had committed and not yet folded into the database, as the index
 * file beside the log tells; 0 if it tells nothing that can be trusted. SQLite updates it after the
 * log is on disk, so it never runs ahead.
 */
function committedFrames(folder: Folder, log: Buffer, headerIsSound: boolean): number {
  if (!existsSync(folder.sharedMemory)) return 0;
  const index = readFileSync(folder.sharedMemory);
  const isBig = endianness() === 'BE';
  const read = (at: number) => (isBig ? index.readUInt32BE(at) : index.readUInt32LE(at));
  // Its head is there twice, each with a checksum: one of them is enough.
  const head = [0, INDEX_HEADER_BYTES].find(
    (at) =>
      index.length >= at + INDEX_HEADER_BYTES &&
      // All zeros fit their own checksum.
      read(at) !== 0 &&
      sumIs(sum(index, at, at + 40, [0, 0], isBig), [read(at + 40), read(at + 44)]),
  );
  if (head === undefined) return 0;
  // Of a log whose own head is spoiled nobody else tells.
  const isSameLog =
    !headerIsSound || index.subarray(head + 32, head + 40).equals(log.subarray(16, 24));
  const committed = read(head + 16);
  const foldedAt = 2 * INDEX_HEADER_BYTES;
  const folded = index.length >= foldedAt + 4 ? read(foldedAt) : 0;
  // Folded is what was committed: all of it, and the log may be gone.
  return isSameLog && folded !== committed ? committed : 0;
}

function frameAt(number: number): number {
  return HEADER_BYTES + (number - 1) * FRAME_BYTES;
}

type Sum = readonly [number, number];

function frameSum(log: Buffer, number: number, sumBefore: number, bigEndian: boolean): Sum {
  const at = frameAt(number);
  const before: Sum = [log.readUInt32BE(sumBefore), log.readUInt32BE(sumBefore + 4)];
  const head = sum(log, at, at + 8, before, bigEndian);
  return sum(log, at + FRAME_HEADER_BYTES, at + FRAME_BYTES, head, bigEndian);
}

function sumFits(log: Buffer, at: number, expected: Sum): boolean {
  return sumIs([log.readUInt32BE(at), log.readUInt32BE(at + 4)], expected);
}

function sumIs(found: Sum, expected: Sum): boolean {
  return found[0] === expected[0] && found[1] === expected[1];
}

function sum(bytes: Buffer, from: number, to: number, start: Sum, bigEndian: boolean): Sum {
  let [a, b] = start;
  for (let at = from; at < to; at += 8) {
    const x = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const y = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    a = (a + x + b) >>> 0;
    b = (b + y + a) >>> 0;
  }
  return [a, b];
}
