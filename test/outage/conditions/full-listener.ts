/**
 * A port that drops what knocks: somebody listens there, and the queue of connections that wait for it
 * is full, so that the kernel answers no SYN any more. What a firewall does that drops, without root.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

const HOST = '127.0.0.1';
/** A connection on loopback that takes so long is not accepted, ms. */
const ACCEPTED_WITHIN_MS = 200;
const LISTEN = `require('net').createServer()
  .listen({ port: Number(process.argv[1]), host: '${HOST}', backlog: 1 }, () => console.log('up'))`;

/** Resolves when no further connection to the port is accepted; ends with the test. */
export async function listenInVain(port: number): Promise<void> {
  const child = spawn(process.execPath, ['-e', LISTEN, `${port}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const sockets: Socket[] = [];
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
  });
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  for (;;) {
    const socket = connect(port, HOST);
    socket.on('error', () => undefined);
    sockets.push(socket);
    if (!(await isAccepted(socket))) return;
  }
}

async function isAccepted(socket: Socket): Promise<boolean> {
  const signal = AbortSignal.timeout(ACCEPTED_WITHIN_MS);
  return await once(socket, 'connect', { signal }).then(
    () => true,
    () => false,
  );
}
