/**
 * The acknowledged adds of the rollback window, oldest first. Kept as bytes: objects that live for ten
 * seconds are what a garbage collector pays most for, and their size can only be guessed.
 *
 * Bounded in time and in bytes; what is dropped for want of room is said.
 */
import type { Instant } from '../time.ts';
import type { AddWork } from './add-series.ts';

/** What it takes to send an add of one job again. */
export interface StoredAdd {
  script: string;
  jobId: string;
  /** BullMQ's packed arguments, the job's data, its packed options: what follows the script's keys. */
  args: Buffer;
  data: string;
  options: Buffer;
}

/** An acknowledged add, with its number in the series. */
export interface WindowEntry {
  number: number;
  work: AddWork;
}

export interface AddWindowDeps {
  bytesMax: number;
  restore(stored: StoredAdd): AddWork;
  /** The oldest were dropped although the window has not passed. */
  onFull(): void;
}

/** Entries that share a block are dropped together. */
const BLOCK_BYTES = 64 * 1024;
/** Blocks kept for the next entries, so that a steady producer allocates none. */
const SPARE_MAX = 4;
/** Before the bytes of an entry: its length, its number, its script, and the length of each part. */
const HEAD_BYTES = 4 + 8 + 1 + 4 * 4;
/** In the place of a script: the entry is an object, see `#objects`. */
const OBJECT = 255;
/** In the place of a number: below all of them. */
const REMOVED = 0;

interface Block {
  buffer: Buffer;
  used: number;
  lastNumber: number;
  lastActedAt: Instant;
}

export class AddWindow {
  readonly #deps: AddWindowDeps;
  #blocks: Block[] = [];
  readonly #spare: Buffer[] = [];
  readonly #scripts: string[] = [];
  /** Adds that have no stored form, by number. */
  readonly #objects = new Map<number, AddWork>();
  #bytes = 0;

  constructor(deps: AddWindowDeps) {
    this.#deps = deps;
  }

  push(number: number, work: AddWork, now: Instant): void {
    const { stored } = work;
    if (!stored) {
      this.#objects.set(number, work);
      this.#bytes += work.bytes;
      this.#write(this.#room(HEAD_BYTES, now), number, OBJECT, undefined, HEAD_BYTES);
      return;
    }
    const dataBytes = Buffer.byteLength(stored.data);
    const idBytes = Buffer.byteLength(stored.jobId);
    const bytes = HEAD_BYTES + idBytes + stored.args.length + dataBytes + stored.options.length;
    const block = this.#room(bytes, now);
    this.#write(block, number, this.#indexOf(stored.script), stored, bytes);
  }

  get isEmpty(): boolean {
    return this.#blocks.length === 0;
  }

  forgetBefore(instant: Instant): void {
    let count = 0;
    while (count < this.#blocks.length && this.#blocks[count]!.lastActedAt < instant) count += 1;
    if (count > 0) this.#drop(count);
  }

  /** Those above a number, in order; what they were made of may be gone once the caller awaits. */
  after(number: number): WindowEntry[] {
    return this.#blocksAfter(number).flatMap((block) => [...this.#entries(block, number)]);
  }

  /** These stand for as long again: they have acted anew. */
  renewAfter(number: number, now: Instant): void {
    for (const block of this.#blocksAfter(number)) block.lastActedAt = now;
  }

  /** It is not to be sent again. */
  remove(number: number): void {
    for (const { buffer, used } of this.#blocksAfter(number - 1)) {
      for (let at = 0; at < used; at += buffer.readUInt32LE(at)) {
        if (buffer.readDoubleLE(at + 4) === number) buffer.writeDoubleLE(REMOVED, at + 4);
      }
    }
  }

  #blocksAfter(number: number): Block[] {
    return this.#blocks.filter(({ lastNumber }) => lastNumber > number);
  }

  #indexOf(script: string): number {
    const index = this.#scripts.indexOf(script);
    return index >= 0 ? index : this.#scripts.push(script) - 1;
  }

  /** A block that has room for so many bytes. */
  #room(bytes: number, now: Instant): Block {
    let block = this.#blocks.at(-1);
    if (!block || block.used + bytes > block.buffer.length) {
      const size = Math.max(bytes, BLOCK_BYTES);
      while (this.#bytes + size > this.#deps.bytesMax && this.#blocks.length > 0) {
        this.#drop(1);
        this.#deps.onFull();
      }
      const spare = size === BLOCK_BYTES ? this.#spare.pop() : undefined;
      block = {
        buffer: spare ?? Buffer.allocUnsafeSlow(size),
        used: 0,
        lastNumber: 0,
        lastActedAt: now,
      };
      this.#blocks.push(block);
      this.#bytes += size;
    }
    block.lastActedAt = now;
    return block;
  }

  #write(
    block: Block,
    number: number,
    script: number,
    stored: StoredAdd | undefined,
    bytes: number,
  ): void {
    const { buffer } = block;
    let at = block.used;
    block.used += bytes;
    block.lastNumber = number;
    at = buffer.writeUInt32LE(bytes, at);
    at = buffer.writeDoubleLE(number, at);
    at = buffer.writeUInt8(script, at);
    if (!stored) return;
    const { jobId, args, data, options } = stored;
    const lengthsAt = at;
    at += 4 * 4;
    const idBytes = buffer.write(jobId, at);
    at += idBytes;
    buffer.set(args, at);
    at += args.length;
    const dataBytes = buffer.write(data, at);
    at += dataBytes;
    buffer.set(options, at);
    let lengths = buffer.writeUInt32LE(idBytes, lengthsAt);
    lengths = buffer.writeUInt32LE(args.length, lengths);
    lengths = buffer.writeUInt32LE(dataBytes, lengths);
    buffer.writeUInt32LE(options.length, lengths);
  }

  *#entries({ buffer, used }: Block, after: number): Generator<WindowEntry> {
    for (let at = 0; at < used; at += buffer.readUInt32LE(at)) {
      const number = buffer.readDoubleLE(at + 4);
      if (number <= after) continue;
      const script = buffer.readUInt8(at + 12);
      const work = script === OBJECT ? this.#objects.get(number) : this.#restore(buffer, at + 12);
      if (work) yield { number, work };
    }
  }

  #restore(buffer: Buffer, scriptAt: number): AddWork {
    let at = scriptAt + 1 + 4 * 4;
    const part = (i: number): Buffer => {
      const from = at;
      at += buffer.readUInt32LE(scriptAt + 1 + 4 * i);
      // A copy: the block is used again.
      return Buffer.from(buffer.subarray(from, at));
    };
    const [id, args, data, options] = [part(0), part(1), part(2), part(3)];
    return this.#deps.restore({
      script: this.#scripts[buffer.readUInt8(scriptAt)]!,
      jobId: id.toString(),
      args,
      data: data.toString(),
      options,
    });
  }

  /** The oldest blocks go. */
  #drop(count: number): void {
    for (const block of this.#blocks.splice(0, count)) {
      this.#bytes -= block.buffer.length;
      if (this.#objects.size > 0) this.#dropObjects(block);
      if (block.buffer.length === BLOCK_BYTES && this.#spare.length < SPARE_MAX) {
        this.#spare.push(block.buffer);
      }
    }
  }

  #dropObjects({ buffer, used }: Block): void {
    for (let at = 0; at < used; at += buffer.readUInt32LE(at)) {
      const number = buffer.readDoubleLE(at + 4);
      this.#bytes -= this.#objects.get(number)?.bytes ?? 0;
      this.#objects.delete(number);
    }
  }
}
