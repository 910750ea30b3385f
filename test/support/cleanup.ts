/** Vitest set-up file: whatever a test file started ends with it, also when a test failed. */
import { afterAll } from 'vitest';
import { stopAllProxies } from './proxy.ts';
import { stopAllRedis } from './redis-server.ts';

afterAll(async () => {
  await stopAllProxies();
  await stopAllRedis();
});
