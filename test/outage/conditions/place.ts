/** Where a fault happens: a real server, a proxy before it, and how a target is told of them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RedisConfig } from '../../../src/config.ts';
import { certificate } from '../../support/certificates.ts';
import { startProxy, type TcpProxy } from '../../support/proxy.ts';
import {
  freePort,
  type RedisServer,
  type RedisServerOptions,
  startRedis,
} from '../../support/redis-server.ts';

export interface Place {
  server: RedisServer;
  /** In front of the server; a Cluster's node is asked without it. */
  proxy: TcpProxy;
  redis: Partial<RedisConfig>;
  prefix?: string;
}

export type OpenPlace = () => Promise<Place>;

export function plainPlace(options: RedisServerOptions = {}): OpenPlace {
  return async () => {
    const server = await startRedis(options);
    const proxy = await startProxy(server.port);
    return { server, proxy, redis: { url: proxy.url } };
  };
}

/** The target is a user of its own, with a password. */
export const userPlace: OpenPlace = async () => {
  const place = await plainPlace()();
  await place.server.command('ACL', 'SETUSER', 'app', 'on', '>old', '~*', '&*', '+@all');
  const { port } = place.proxy;
  return { ...place, redis: { url: `redis://app:old@127.0.0.1:${port}` } };
};

/** Below this zone names resolve to what `resolveTo` says, see `faults/hosts.ts`. */
const NAME = 'redis.matrix.test';

export const namedPlace: OpenPlace = async () => {
  const place = await plainPlace()();
  process.env.OUTAGE_HOSTS = join(place.server.dir, 'hosts.json');
  resolveTo('127.0.0.1');
  return { ...place, redis: { url: `redis://${NAME}:${place.proxy.port}` } };
};

export function resolveTo(address: string | undefined): void {
  writeFileSync(process.env.OUTAGE_HOSTS!, JSON.stringify({ [NAME]: address }));
}

const CERTIFICATES = {
  good: {},
  expired: { until: '20210101000000Z' },
  elsewhere: { altNames: 'DNS:redis.example' },
} as const;

/** Behind TLS; the target knows the authorities of `CERTIFICATES`, and no other. */
export const tlsPlace: OpenPlace = async () => {
  const port = await freePort();
  const folder = (await startRedis()).dir;
  const paths = Object.entries(CERTIFICATES).map(([name, wanted]) =>
    certificate({ folder, name, ...wanted }),
  );
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, paths.map((path) => readFileSync(`${path}.crt`, 'utf8')).join(''));
  certificate({ folder, name: 'stranger' });
  const good = join(folder, 'good');
  const server = await startRedis({
    args: [
      ...['--tls-port', `${port}`, '--tls-auth-clients', 'no', '--tls-ca-cert-file', caFile],
      ...['--tls-cert-file', `${good}.crt`, '--tls-key-file', `${good}.key`],
    ],
  });
  const proxy = await startProxy(port);
  const tls = { certFile: undefined, keyFile: undefined, serverName: undefined };
  return {
    server,
    proxy,
    redis: {
      url: `rediss://127.0.0.1:${proxy.port}`,
      tls: { ...tls, caFile, rejectUnauthorized: true },
    },
  };
};

/** The server takes another of the certificates, and present connections end. */
export async function showCertificate({ server, proxy }: Place, name: string): Promise<void> {
  const ca = String(((await server.command('CONFIG', 'GET', 'tls-ca-cert-file')) as string[])[1]);
  const path = ca.replace('ca.pem', name);
  const files = ['tls-cert-file', `${path}.crt`, 'tls-key-file', `${path}.key`];
  await server.command('CONFIG', 'SET', ...files);
  proxy.reset();
}

const SLOT_MAX = 16_383;

/** One node that has all slots of its Cluster. */
export const clusterPlace: OpenPlace = async () => {
  // The bus listens 10,000 ports higher, which must exist.
  let port = await freePort();
  while (port > 55_000) port = await freePort();
  // A node that has met no other does not know its own address.
  const args = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'];
  const server = await startRedis({ port, args });
  await server.command('CLUSTER', 'ADDSLOTSRANGE', 0, SLOT_MAX);
  while (!String(await server.command('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  const proxy = await startProxy(port);
  const clusterNodes = [{ host: server.host, port }];
  return { server, proxy, redis: { url: undefined, clusterNodes }, prefix: '{bull}' };
};
