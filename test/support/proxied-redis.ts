/** For each test of a file a server of its own and a proxy in front of it, which end with the test. */
import { afterEach, beforeEach } from 'vitest';
import { startProxy, type TcpProxy } from './proxy.ts';
import { type RedisServer, type RedisServerOptions, startRedis } from './redis-server.ts';

export interface ProxiedRedis {
  readonly server: RedisServer;
  readonly proxy: TcpProxy;
}

/** To be called first in the file: what is begun after it ends before it. */
export function proxiedRedis(options?: RedisServerOptions): ProxiedRedis {
  const place = {} as { server: RedisServer; proxy: TcpProxy };
  beforeEach(async () => {
    place.server = await startRedis(options);
    place.proxy = await startProxy(place.server.port);
  });
  afterEach(async () => {
    await place.proxy.stop();
    await place.server.stop();
  });
  return place;
}
