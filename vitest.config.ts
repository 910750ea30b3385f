/**
 * The test tiers as Vitest projects: `unit` (pure, milliseconds), `integration` (real servers), `process`
 * (the service and the command line as processes), `outage` (real servers that are really broken),
 * `simulation` (the pure rooms under a seed), `terminal` (every command as a person types it), `browser`
 * (the pages in Chromium) and `docker` (the image and the compose file; `npm run test:docker` brings the
 * engine).
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { findRedisServer } from './src/redis/server-bin.ts';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const tier = (name: string, timeoutMs: number, globalSetup: string[] = []) => ({
  extends: true as const,
  test: {
    name,
    globalSetup: [path('./test/support/temporary.ts'), ...globalSetup],
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    // Ends as soon as it is so; Vitest's own second is too short beside other tests on two cores.
    expect: { poll: { timeout: 10_000 } },
  },
});

export default defineConfig({
  resolve: {
    alias: {
      'holdfast/testing': path('./src/testing.ts'),
      holdfast: path('./src/index.ts'),
    },
  },
  test: {
    setupFiles: [path('./test/support/cleanup.ts')],
    // Most tests wait for servers: three keep two cores busy.
    maxWorkers: 3,
    env: { REDIS_SERVER_BIN: findRedisServer(process.env.REDIS_SERVER_BIN) ?? '' },
    projects: [
      tier('unit', 5_000),
      tier('integration', 30_000),
      tier('process', 60_000),
      // A row of the fault matrix takes its outage plus start and end.
      tier('outage', 240_000),
      tier('simulation', 120_000),
      tier('browser', 120_000),
      tier('terminal', 60_000, [path('./test/terminal/setup.ts')]),
      tier('docker', 300_000, [path('./test/docker/setup.ts')]),
    ],
  },
});
