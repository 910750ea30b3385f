import { describe, expect, it } from 'vitest';
import type { Generation } from '../../src/queue/generation.ts';
import { IdleRead, type Marker } from '../../src/queue/idle-read.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

const generation = { alive: true, client: { isCluster: false } } as unknown as Generation;

function setUp() {
  const clock = new VirtualClock();
  const reads: PromiseWithResolvers<[string, Marker] | null>[] = [];
  const idleRead = new IdleRead({
    clock,
    quietAfterMs: 0,
    read(_generation, _owner, _keys, _seconds, signal) {
      const read = Promise.withResolvers<[string, Marker] | null>();
      signal.addEventListener('abort', () => read.resolve(null));
      reads.push(read);
      return read.promise;
    },
  });
  const takers = [{}, {}];
  for (const taker of takers) idleRead.tell(taker, clock.now());
  return { clock, idleRead, reads };
}

describe('a read that quiet queues share', () => {
  it('gives its marker to whom it belongs, and lets the others go on', async () => {
    const { idleRead, reads } = setUp();
    const { signal } = new AbortController();
    const waiting = ['a', 'b'].map((key) => idleRead.wait(generation, key, signal));
    const marker = { member: '0', score: 0 };
    reads[0]!.resolve(['b', marker]);
    expect(await Promise.all(waiting)).toEqual([null, marker]);
  });

  it('sends the others to look for work when one that leaves cuts it: its answer may be on its way', async () => {
    const { idleRead, reads } = setUp();
    const leaving = new AbortController();
    const { signal } = new AbortController();
    const waiting = [
      idleRead.wait(generation, 'a', leaving.signal),
      idleRead.wait(generation, 'b', signal),
    ];
    expect(reads).toHaveLength(1);
    leaving.abort();
    expect(await Promise.all(waiting)).toEqual([null, 'cut']);
  });
});
