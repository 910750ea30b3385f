/** Scripts as we write them to the socket, against what a real server makes of them. */
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runScript, Script } from '../../src/queue/script-command.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** Tells what arrived, byte by byte. */
const ECHO = `local told = {}
for _, list in ipairs({ KEYS, ARGV }) do
  for _, text in ipairs(list) do
    told[#told + 1] = text:gsub('.', function(c) return string.format('%02x', c:byte()) end)
  end
end
return told`;

let server: RedisServer;
let client: Redis;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url);
});

afterAll(async () => {
  client.disconnect();
  await server.stop();
});

describe('a script as one command', () => {
  it('arrives as it was given, whatever it is made of', async () => {
    const echo = new Script(ECHO, 1);
    const argument = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.integer(),
      fc.constant(undefined),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.string({ minLength: 1 }),
        fc.array(argument, { maxLength: 8 }),
        async (key, args) => {
          const told = await runScript(client, echo, [key, ...args]);
          const hex = (arg: unknown): string =>
            (Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg ?? ''))).toString('hex');
          expect(told).toEqual([key, ...args].map(hex));
        },
      ),
    );
  });

  it('takes the number of keys from the call where the script does not say it', async () => {
    const count = new Script('return { #KEYS, #ARGV }', undefined);
    expect(await runScript(client, count, [2, 'a', 'b', 'c'])).toEqual([2, 1]);
    expect(await runScript(client, count, [0])).toEqual([0, 0]);
  });

  it('is sent by its hash once the server knows it, and with its text when the server forgot it', async () => {
    const script = new Script('return ARGV[1] .. " is known"', 0);
    for (const text of ['one', 'two']) {
      expect(await runScript(client, script, [text])).toBe(`${text} is known`);
    }
    await client.script('FLUSH');
    const both = ['three', 'four'].map((text) => runScript(client, script, [text]));
    expect(await Promise.all(both)).toEqual(['three is known', 'four is known']);
    const stats = await client.info('commandstats');
    expect(/cmdstat_evalsha:calls=(\d+),.*failed_calls=(\d+)/.exec(stats)?.slice(2)).toEqual(['2']);
  });

  it("throws the script's own error", async () => {
    const script = new Script('return redis.error_reply("FENCED late")', 0);
    await expect(runScript(client, script, [])).rejects.toThrow(/^FENCED late/);
  });
});
