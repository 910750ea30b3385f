/** One post-mortem for the fleet: over HTTP, on the page and on the command line, with and without Redis. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fleetRecords } from '../../src/http/fleet-records.ts';
import { fileNameOf, folderOfOutages, type StoredOutage } from '../../src/outage/archive.ts';
import { openRecord } from '../../src/outage/record.ts';
import { shareOutage } from '../../src/queue/fleet-outage.ts';
import { runCommand } from '../support/command.ts';
import { redisConfig } from '../support/config.ts';
import { type HttpService, startHttpService } from '../support/http-service.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const FLEET_ID = 'f1ee7000-0000-4000-8000-000000000001';
const OWN_ID = '0a000000-0000-4000-8000-000000000001';

function record(replica: string, id: string): StoredOutage & { fleetId: string } {
  const startedAt = Date.now() - 60_000;
  return {
    ...openRecord(id, 'refused', startedAt, 1),
    format: 1,
    replica,
    version: '0.1.0',
    host: 'a',
    pid: 1,
    commandLine: '',
    updatedAt: startedAt + 2000,
    interrupted: false,
    endedAt: startedAt + 2000,
    fleetId: FLEET_ID,
  };
}
const OWN = record('one', OWN_ID);
const OTHER = record('two', '0b000000-0000-4000-8000-000000000002');

let redis: RedisServer;
let client: Redis;
let service: HttpService;
let isAway = false;
beforeAll(async () => {
  redis = await startRedis();
  client = new Redis(redis.url);
  await shareOutage(client, 'bull', OTHER);
  service = await startHttpService(redis.url, {
    outages: async () => [OWN, { ...record('one', '0c'), fleetId: undefined }],
    fleetOutages: fleetRecords(() => (isAway ? undefined : { client }), 'bull'),
  });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  client.disconnect();
});

const postMortem = async (path: string) => {
  const response = await fetch(`${service.url}/v1/outages/${path}`);
  return { status: response.status, text: await response.text() };
};

describe('a post-mortem over HTTP', () => {
  it.each([OWN_ID, FLEET_ID, FLEET_ID.slice(0, 8)])(
    'covers the fleet, asked for %s',
    async (id) => {
      const { status, text } = await postMortem(`${id}/post-mortem?fleet=1`);
      expect(status).toBe(200);
      expect(text).toContain('| replicas | one, two |');
      expect(text).not.toContain('left out');
    },
  );

  it('covers one replica when it is not asked for the fleet', async () => {
    expect((await postMortem(`${OWN_ID}/post-mortem`)).text).toContain('| replicas | one |');
    expect((await postMortem(`${FLEET_ID}/post-mortem`)).status).toBe(404);
  });

  it('says whose records it lacks', async () => {
    isAway = true;
    const { text } = await postMortem(`${OWN_ID}/post-mortem?fleet=1`);
    isAway = false;
    expect(text).toContain('| replicas | one |');
    expect(text).toContain('Records of other replicas are left out: Redis is away.');
    expect((await postMortem('0c/post-mortem?fleet=1')).text).toContain('agreed on no id');
    expect((await postMortem('nowhere/post-mortem?fleet=1')).status).toBe(404);
  });

  it('is linked from the page by the id of the fleet', async () => {
    const response = await fetch(`${service.url}/v1/status`);
    const { outages } = (await response.json()) as { outages: object[] };
    expect(outages).toContainEqual(expect.objectContaining({ id: OWN_ID, fleetId: FLEET_ID }));
  });
});

it('`holdfast outages show` takes the id of a fleet outage', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-outages-'));
  mkdirSync(folderOfOutages(dataDir));
  writeFileSync(join(folderOfOutages(dataDir), fileNameOf(OWN)), JSON.stringify(OWN));
  const settings = { dataDir, redis: redisConfig({ url: redis.url }) };
  const show = async (...args: string[]) =>
    await runCommand(['outages', 'show', ...args], settings);
  expect((await show(FLEET_ID)).stdout).toContain('| replicas | one, two |');
  expect((await show(OWN_ID, '--markdown')).stdout).toContain('| replicas | one |');
  const unknown = await show('77777777');
  expect(unknown.code).not.toBe(0);
  expect(unknown.stderr).toContain('--fleet');
});
