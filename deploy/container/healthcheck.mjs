/**
 * The container's health check: asks /livez and nothing else, so that a container is never restarted
 * because Redis is away. Where, it reads in the note that the service leaves in its data folder, for a
 * port may also stand in `.env`; before there is a note, in the environment. Exits with 0 or 1. A file of
 * its own that loads nothing: it runs every ten seconds, and the image has no curl.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** Below the 5 s of HEALTHCHECK, so that the reason is told, ms. */
const ANSWER_MS = 4000;
const ANY_ADDRESS = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' };

const {
  HTTP = 'true',
  HTTP_HOST = '127.0.0.1',
  HTTP_PORT = '8080',
  DATA_DIR = '.holdfast',
} = process.env;

const noted = notedAddress();
const address = noted === undefined ? givenAddress() : noted;
if (address === null) end(0, 'HTTP is off: that the process lives must do');

const { protocol, hostname: host, port } = new URL(address);
const url = `${protocol}//${ANY_ADDRESS[host] ?? host}:${port || 80}/livez`;
const request = get(url, { timeout: ANSWER_MS });
request.on('response', ({ statusCode }) => end(statusCode === 200 ? 0 : 1, `HTTP ${statusCode}`));
request.on('timeout', () => end(1, `no answer within ${ANSWER_MS} ms`));
request.on('error', ({ message }) => end(1, message));

/** Of the service in this container: replicas may share the folder. null: it has no HTTP. */
function notedAddress() {
  try {
    for (const file of readdirSync(DATA_DIR)) {
      if (!/^service-.*\.json$/.test(file)) continue;
      const { host, pid, http } = JSON.parse(readFileSync(join(DATA_DIR, file), 'utf8'));
      if (host === hostname() && isAlive(pid)) return http;
    }
  } catch {
    // Not there yet, or half written: as it was given.
  }
  return undefined;
}

function givenAddress() {
  if (/^(false|0|no|off)$/i.test(HTTP)) return null;
  return `http://${HTTP_HOST.includes(':') ? `[${HTTP_HOST}]` : HTTP_HOST}:${HTTP_PORT}`;
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function end(code, reason) {
  process.stdout.write(`${reason}\n`);
  process.exit(code);
}
