/**
 * The container's health check: asks /livez and nothing else, so that a container is never restarted
 * because Redis is away. Exits with 0 or 1. A file of its own that loads nothing: it runs every ten
 * seconds, and the image has no curl.
 */
import { get } from 'node:http';

/** Below the 5 s of HEALTHCHECK, so that the reason is told, ms. */
const ANSWER_MS = 4000;
const ANY_ADDRESS = { '0.0.0.0': '127.0.0.1', '::': '::1' };

const { HTTP = 'true', HTTP_HOST = '127.0.0.1', HTTP_PORT = '8080' } = process.env;

if (/^(false|0|no|off)$/i.test(HTTP)) end(0, 'HTTP is off: that the process lives must do');

const host = ANY_ADDRESS[HTTP_HOST] ?? HTTP_HOST;
const request = get({ host, port: HTTP_PORT, path: '/livez', timeout: ANSWER_MS });
request.on('response', ({ statusCode }) => end(statusCode === 200 ? 0 : 1, `HTTP ${statusCode}`));
request.on('timeout', () => end(1, `no answer within ${ANSWER_MS} ms`));
request.on('error', ({ message }) => end(1, message));

function end(code, reason) {
  process.stdout.write(`${reason}\n`);
  process.exit(code);
}
