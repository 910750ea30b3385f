/** An operator's desk: the service running in one terminal, a shell for commands in another. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type RedisServer } from '../support/redis-server.ts';
import { Terminal } from './support.ts';

export interface Desk extends Disposable {
  env: Record<string, string>;
  /** When the service ends, its exit code stands there as `code=…`. */
  service: Terminal;
  shell: Terminal;
}

/** Resolves when the service runs. `worker` is the source of the handler of queue `mail`. */
export async function openDesk(
  redis: RedisServer,
  worker: string,
  schedules: readonly unknown[] = [],
): Promise<Desk> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-terminal-'));
  for (const name of ['workers', 'config']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'workers', 'mail.mjs'), worker);
  writeFileSync(join(folder, 'config', 'schedules.json'), JSON.stringify(schedules));
  const env = {
    REDIS_URL: redis.url,
    HTTP_PORT: `${await freePort()}`,
    DATA_DIR: join(folder, 'data'),
    WORKERS_DIR: join(folder, 'workers'),
    CONFIG_DIR: join(folder, 'config'),
    REPLICA: 'web-1',
  };
  const service = new Terminal(env);
  const shell = new Terminal(env);
  service.type('holdfast start; echo "code=$?"');
  service.press('Enter');
  await service.until(/Holdfast is running/);
  return {
    env,
    service,
    shell,
    [Symbol.dispose]() {
      service[Symbol.dispose]();
      shell[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
