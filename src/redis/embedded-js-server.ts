/**
 * The fallback when no real Redis is to be had: a child process that runs `js-redis-server`, in
 * memory, for trying things out. Its command line is `<data folder> <port>`; the folder is only the
 * mark by which the process is known.
 *
 * Must never listen on anything but loopback: the server has no password.
 */
import { createRedisServer } from 'js-redis-server';

const HOST = '127.0.0.1';
const EXIT_OK = 0;
const EXIT_UNSAFE = 70;

const port = Number(process.argv[3]);
// The value goes to `net.Server.listen` as it is; with a bare number it would listen everywhere.
const listen = { host: HOST, port } as unknown as number;
const handle = await createRedisServer({ port: listen });

const address = handle.server.server.address();
if (address === null || typeof address === 'string' || address.address !== HOST) {
  process.stderr.write('js-redis-server listens beyond loopback; refusing to run.\n');
  process.exit(EXIT_UNSAFE);
}

// `close()` would wait for clients to leave; there is nothing on disk to finish.
process.on('SIGTERM', () => process.exit(EXIT_OK));
// Ctrl-C in the terminal is for the service, which ends this process when it has drained.
process.on('SIGINT', () => {});
