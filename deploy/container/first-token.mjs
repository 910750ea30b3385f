/**
 * Before the first start of the compose file: makes the token of HTTP_TOKEN_FILE if nobody gave one, so
 * that no token is the same on two machines. Several replicas may do so at once: one of them wins. Says
 * nothing, for what a container writes is its log; the file belongs to the user of the image.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';

const { HTTP_TOKEN = '', HTTP_TOKEN_FILE = '' } = process.env;

if (HTTP_TOKEN === '' && HTTP_TOKEN_FILE !== '' && !existsSync(HTTP_TOKEN_FILE)) {
  const draft = `${HTTP_TOKEN_FILE}.${hostname()}-${process.pid}`;
  writeFileSync(draft, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  try {
    // Fails where a file is: never half a token, never another one.
    linkSync(draft, HTTP_TOKEN_FILE);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}
