import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RedisConfig } from '../../src/config.ts';
import { parseRedisUrl, redactRedisUrl } from '../../src/redis/address.ts';
import {
  clusterOptions,
  fullJitterPace,
  type OptionDeps,
  redisOptions,
} from '../../src/redis/options.ts';
import { redisConfig } from '../support/config.ts';

const config = (changes: Partial<RedisConfig> = {}): RedisConfig =>
  redisConfig({ url: 'redis://localhost:6380/2', connectTimeoutMs: 5000, ...changes });
const deps: OptionDeps = { retryPace: () => 7, connectionName: 'holdfast:test', report: () => {} };

describe('the options of a connection', () => {
  it('take host, port and database from the address', () => {
    expect(redisOptions(config(), 'command', deps)).toMatchObject({
      host: 'localhost',
      port: 6380,
      db: 2,
      connectTimeout: 5000,
      connectionName: 'holdfast:test',
    });
  });

  it('put explicit settings over those of the address', () => {
    const url = 'redis://someone:one@h:1/2';
    const changes = { url, username: 'other', password: 'two', db: 3 };
    expect(redisOptions(config(changes), 'command', deps)).toMatchObject({
      username: 'other',
      password: 'two',
      db: 3,
    });
  });

  it('never send a request a second time, and reject it when its connection closes', () => {
    for (const purpose of ['command', 'blocking', 'probe', 'subscriber'] as const) {
      expect(redisOptions(config(), purpose, deps)).toMatchObject({
        maxRetriesPerRequest: 0,
        autoResendUnfulfilledCommands: false,
      });
    }
  });

  it('set no time-out that would end a read that only waits', () => {
    const options = redisOptions(config(), 'blocking', deps);
    expect(options.commandTimeout).toBeUndefined();
    expect(options.socketTimeout).toBeUndefined();
    expect(options.blockingTimeout).toBeUndefined();
  });

  it('reconnect at the pace that the caller gives, and a probe not at all', () => {
    expect(redisOptions(config(), 'command', deps).retryStrategy?.(1)).toBe(7);
    expect(redisOptions(config(), 'probe', deps).retryStrategy?.(1)).toBeNull();
  });

  it('let a probe see a loading server and queue nothing', () => {
    expect(redisOptions(config(), 'probe', deps)).toMatchObject({
      enableReadyCheck: false,
      enableOfflineQueue: false,
      lazyConnect: true,
    });
  });

  it('look for the master again after a demotion, without sending the request again', () => {
    const { reconnectOnError } = redisOptions(config(), 'command', deps);
    expect(reconnectOnError?.(new Error("READONLY You can't write against a replica"))).toBe(true);
    expect(reconnectOnError?.(new Error('UNBLOCKED force unblock from blocking'))).toBe(true);
    expect(reconnectOnError?.(new Error('ERR unknown command'))).toBe(false);
  });

  it('name the server in TLS unless it is a bare address', () => {
    const named = redisOptions(config({ url: 'rediss://cache.example:6380' }), 'command', deps);
    expect(named.tls).toMatchObject({ servername: 'cache.example', rejectUnauthorized: true });
    const bare = redisOptions(config({ url: 'rediss://10.0.0.1' }), 'command', deps);
    expect(bare.tls?.servername).toBeUndefined();
  });

  it('give Sentinels a pace and a deadline', () => {
    const sentinels = [{ host: 's1', port: 26379 }];
    const changes = { url: undefined, sentinels, sentinelName: 'main' };
    const options = redisOptions(config(changes), 'command', deps);
    expect(options).toMatchObject({ sentinels, name: 'main', sentinelCommandTimeout: 5000 });
    expect(options.sentinelRetryStrategy?.(1)).toBe(7);
    expect(options.host).toBeUndefined();
  });

  it('leave a Cluster its offline queue, without which it cannot refresh its slots', () => {
    const clusterNodes = [{ host: 'n1', port: 7000 }];
    const options = clusterOptions(
      config({ url: undefined, clusterNodes, password: 'p' }),
      'command',
      deps,
    );
    expect(options.enableOfflineQueue).toBe(true);
    expect(options.redisOptions).not.toHaveProperty('enableOfflineQueue');
    expect(options.redisOptions).not.toHaveProperty('retryStrategy');
    expect(options.redisOptions?.password).toBe('p');
  });

  it('report a password file that cannot be read, and do not throw', () => {
    const reported: string[] = [];
    const options = redisOptions(config({ passwordFile: '/no/such/file' }), 'command', {
      ...deps,
      report: (error) => reported.push(error.code),
    });
    expect(options.password).toBeUndefined();
    expect(reported).toEqual(['HOLDFAST_SECRET_FILE_UNREADABLE']);
  });
});

describe('the default pace', () => {
  it('spreads over the whole span and stays below its cap', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (n, r) => {
          const delayMs = fullJitterPace(50, 2000, () => r)(n) ?? -1;
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThanOrEqual(Math.min(2000, 50 * 2 ** (n - 1)));
        },
      ),
    );
    expect(fullJitterPace(50, 2000, () => 0.5)(3)).toBe(100);
  });
});

describe('a Redis address', () => {
  it('may be a unix socket with a database', () => {
    expect(parseRedisUrl('unix:///run/redis.sock?db=4')).toMatchObject({
      path: '/run/redis.sock',
      db: 4,
      host: undefined,
    });
  });

  it('may have an IPv6 host and an encoded password', () => {
    expect(parseRedisUrl('redis://u:p%40ss@[::1]/')).toMatchObject({
      host: '::1',
      port: 6379,
      username: 'u',
      password: 'p@ss',
      db: undefined,
    });
  });

  it.each(['http://h', 'not a url', 'redis://h/zero', 'unix://tmp/x.sock', 'unix:///'])(
    'is refused with what to write instead: %s',
    (text) => {
      expect(() => parseRedisUrl(text)).toThrow(/Write redis:\/\//);
    },
  );

  it('never shows its password, well formed or not', () => {
    const secret = fc
      .stringMatching(/^[A-Za-z0-9%@:/?#]{8,20}$/)
      .filter((s) => !/^[%@:/?#]/.test(s));
    fc.assert(
      fc.property(secret, fc.constantFrom('redis', 'rediss', 'http', 'unix'), (word, scheme) => {
        const password = `hunter${word}`;
        for (const text of [
          `${scheme}://user:${password}@host:6379/0`,
          `${scheme}://:${encodeURIComponent(password)}@host`,
          `user:${password}@host`,
        ]) {
          expect(redactRedisUrl(text)).not.toContain('hunter');
        }
      }),
    );
    expect(redactRedisUrl('redis://user:123/hunter@host')).not.toContain('hunter');
    expect(redactRedisUrl('redis://u:pw@h:1/2')).toBe('redis://u:***@h:1/2');
  });
});
