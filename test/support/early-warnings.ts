/** Early warnings of one server, looked for all the time. */
import type { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { EarlyWarnings } from '../../src/queue/early-warnings.ts';
import { Generation } from '../../src/queue/generation.ts';
import { systemClock } from '../../src/time.ts';

/** Looks at the server of this connection again and again. */
export function watchEarly(client: Redis) {
  const generation = new Generation(client, 0, systemClock);
  client.on('error', () => undefined);
  let looks = 0;
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object) => lines.push({ ...fields });
  const warnings = new EarlyWarnings({
    clock: systemClock,
    log: { info: write, warn: write },
    generation: () => {
      looks += 1;
      return generation;
    },
    replicas: () => 1,
    // As the pulse that is asked beside it.
    roundTripMs: () => Number.POSITIVE_INFINITY,
    lookEveryMs: 20,
  });
  onTestFinished(() => {
    warnings.stop();
    generation.destroy();
  });
  warnings.start();
  return {
    warnings,
    lines,
    looks: () => looks,
    stand: () => warnings.list().map(({ name }) => name),
  };
}
