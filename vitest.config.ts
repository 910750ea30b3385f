/**
 * The test tiers as Vitest projects: `unit` (pure, milliseconds), `integration` (real servers),
 * `outage` (real servers that are really broken) and `simulation` (the pure rooms under a seed).
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { findRedisServer } from './src/redis/server-bin.ts';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const tier = (name: string, timeoutMs: number) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
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
    // Most tests wait for servers; Vitest leaves one of two cores idle by default.
    maxWorkers: 2,
    env: { REDIS_SERVER_BIN: findRedisServer(process.env.REDIS_SERVER_BIN) ?? '' },
    projects: [
      tier('unit', 5_000),
      tier('integration', 30_000),
      // A row of the fault matrix takes its outage plus start and end.
      tier('outage', 240_000),
      tier('simulation', 120_000),
    ],
  },
});
