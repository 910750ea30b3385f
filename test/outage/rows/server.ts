/** Rows 1 and 2: the server dies, or freezes. */
import type { Row } from '../harness/row.ts';
import type { World } from '../harness/world.ts';

const kill = (world: World): Promise<void> => world.server.kill();
const restart = (world: World): Promise<void> => world.server.restart();

function killed(id: string, outageMs: number, full: { isFull?: true } = {}): Row {
  return {
    id,
    fault: 'server SIGKILLed, restarted with its AOF',
    outageMs,
    ...full,
    cause: kill,
    mend: restart,
    expect: { conditions: ['refused'], detectMs: 500 },
  };
}

const freeze = async (world: World): Promise<void> => world.server.freeze();
const thaw = async (world: World): Promise<void> => world.server.thaw();

function frozen(id: string, outageMs: number, full: { isFull?: true } = {}): Row {
  return {
    id,
    fault: 'server SIGSTOPped, then SIGCONT',
    outageMs,
    ...full,
    cause: freeze,
    mend: thaw,
    expect: { conditions: ['frozen', 'half-open', 'timeout'] },
  };
}

export const serverRows: readonly Row[] = [
  { ...killed('1.1', 2000), brief: {} },
  killed('1.2', 8000),
  killed('1.3', 40_000),
  killed('1.4', 75_000, { isFull: true }),
  { ...frozen('2.1', 8000), brief: { outageMs: 4000 } },
  frozen('2.2', 45_000),
  {
    id: '2.3',
    fault: 'DEBUG SLEEP',
    outageMs: 40_000,
    isFull: true,
    async cause(world) {
      world.memory.set('asleep', world.admin.call('DEBUG', 'SLEEP', '40'));
    },
    async mend(world) {
      await world.memory.get('asleep');
    },
  },
  {
    id: '2.4',
    fault: 'DEBUG SLEEP',
    outageMs: 10_000,
    shortened: '10 s for 40 s: below the lock; 2.3 is the long one',
    async cause(world) {
      world.memory.set('asleep', world.admin.call('DEBUG', 'SLEEP', '10'));
    },
    async mend(world) {
      await world.memory.get('asleep');
    },
  },
  {
    id: '2.5',
    fault: 'CLIENT PAUSE WRITE',
    outageMs: 20_000,
    async cause(world) {
      await world.admin.call('CLIENT', 'PAUSE', '20000', 'WRITE');
    },
    async mend(world) {
      await world.admin.call('CLIENT', 'UNPAUSE');
    },
    // Reads go on, so the pulse is answered: seen by the first write that is not.
    expect: { detectMs: 8000 },
  },
];
