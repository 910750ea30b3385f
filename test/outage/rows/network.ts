/** Row 3: the network between workers and server. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../harness/row.ts';
import type { World } from '../harness/world.ts';

/** Silence: nothing but a missed pulse or a late blocking read can see it. */
const SILENT = ['frozen', 'half-open', 'timeout'] as const;

const OTHER_ADDRESS = '127.0.0.2';

async function heal({ proxies }: World): Promise<void> {
  await Promise.all(proxies.map((proxy) => proxy.heal()));
}

/** Does it again and again until the row mends. */
function repeatedly(world: World, everyMs: number, act: () => Promise<void>): void {
  const end = new AbortController();
  world.memory.set('end', end);
  const acting = (async () => {
    while (!end.signal.aborted) {
      await act();
      await sleep(everyMs, undefined, { signal: end.signal }).catch(() => undefined);
    }
  })();
  world.memory.set('acting', acting);
}

async function endRepeating({ memory }: World): Promise<void> {
  (memory.get('end') as AbortController).abort();
  await memory.get('acting');
}

/** The same port on another loopback address leads to the server. */
async function listenElsewhere(world: World, port: number): Promise<void> {
  const forwarder = createServer((client) => {
    const server = connect(world.server.port, world.server.host);
    server.on('error', () => client.destroy());
    client.on('error', () => server.destroy());
    client.pipe(server).pipe(client);
  });
  world.atEnd(() => forwarder.close());
  forwarder.listen(port, OTHER_ADDRESS);
  await once(forwarder, 'listening');
}

function refused(id: string, outageMs: number, full: { isFull?: true } = {}): Row {
  return {
    id,
    fault: 'connections reset, new ones refused',
    outageMs,
    ...full,
    async cause({ proxies }) {
      for (const proxy of proxies) proxy.cut();
    },
    mend: heal,
    expect: { conditions: ['refused'], detectMs: 500 },
  };
}

function silent(id: string, outageMs: number, full: { isFull?: true } = {}): Row {
  return {
    id,
    fault: 'everything black-holed',
    outageMs,
    ...full,
    async cause({ proxies }) {
      for (const proxy of proxies) proxy.blackHole();
    },
    mend: heal,
    expect: { conditions: SILENT },
  };
}

function repliesVanish(id: string, outageMs: number, full: { isFull?: true } = {}): Row {
  return {
    id,
    fault: 'requests arrive, replies vanish',
    outageMs,
    ...full,
    async cause({ proxies }) {
      for (const proxy of proxies) proxy.dropReplies();
    },
    mend: heal,
    expect: { conditions: SILENT },
  };
}

/** A fault that stays: being seen is all the outage there is. */
const LASTING = { outageMs: 100, inFlightMs: [1000, 2000, 3000, 5000, 7000] } as const;

export const networkRows: readonly Row[] = [
  { ...refused('3.1', 8000), brief: { outageMs: 2000 } },
  refused('3.2', 45_000, { isFull: true }),
  {
    id: '3.3',
    fault: 'CLIENT KILL TYPE normal every second',
    outageMs: 20_000,
    async cause(world) {
      repeatedly(world, 1000, async () => {
        await world.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      });
    },
    mend: endRepeating,
    expect: { conditions: [], detectMs: 500 },
  },
  {
    ...LASTING,
    id: '3.4',
    fault: 'established sockets black-holed for good, new ones pass',
    async cause({ proxies }) {
      for (const proxy of proxies) proxy.blackHole({ new: false, forever: true });
    },
    async mend() {},
    expect: { conditions: SILENT, firstJobMs: 4500 },
  },
  {
    ...LASTING,
    id: '3.5',
    fault: 'only the blocking connections black-holed',
    async cause({ proxies }) {
      for (const proxy of proxies) {
        for (const connection of proxy.connections()) {
          if (/bzpopmin/i.test(connection.recentRequests()))
            connection.blackHole({ forever: true });
        }
      }
    },
    async mend() {},
    expect: { opens: 'any', conditions: SILENT, firstJobMs: 4500 },
  },
  silent('3.6', 8000),
  silent('3.7', 45_000),
  repliesVanish('3.8', 8000),
  repliesVanish('3.9', 45_000, { isFull: true }),
  {
    id: '3.10',
    fault: '2 s of latency with 1 s of jitter',
    outageMs: 20_000,
    async cause({ proxies }) {
      for (const proxy of proxies) proxy.latency(2000, 1000);
    },
    mend: heal,
    // Slow is not away; the first slow answer may look like silence.
    expect: { opens: 'any', conditions: SILENT, firstJobMs: 3000, detectMs: 20_000 },
  },
  {
    id: '3.11',
    fault: 'DNS name stops resolving, then resolves to another address',
    outageMs: 8000,
    host: 'redis.matrix.test',
    imports: ['hosts.ts'],
    hosts: { 'redis.matrix.test': '127.0.0.1' },
    async cause(world) {
      writeFileSync(join(world.dir, 'hosts.json'), '{}');
      for (const proxy of world.proxies) proxy.cut();
    },
    async mend(world) {
      for (const proxy of world.proxies) await listenElsewhere(world, proxy.port);
      writeFileSync(
        join(world.dir, 'hosts.json'),
        JSON.stringify({ 'redis.matrix.test': OTHER_ADDRESS }),
      );
    },
    expect: { conditions: ['dns', 'refused'], named: ['dns'], detectMs: 500 },
  },
  {
    id: '3.12',
    fault: 'Redis absent when the workers start',
    outageMs: 8000,
    isAbsentAtStart: true,
    async cause({ proxies }) {
      await Promise.all(proxies.map((proxy) => proxy.refuse()));
    },
    mend: heal,
    expect: { opens: 'any' },
  },
];
