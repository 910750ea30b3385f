/**
 * Takes the pictures of docs/doctor.md: `holdfast doctor` typed into a terminal, for a Redis that is as it
 * should be, one that is wrong in many ways, and none. Run it with `node test/terminal/doctor-pictures.ts`
 * under the project's Node, for some of them with their names behind it; it needs tmux, Chromium and a
 * redis-server, and waits until the good server is too old to be told of.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { findChromium } from '../browser/support/chromium.ts';
import { freePort, type RedisServer, startRedis, stopAllRedis } from '../support/redis-server.ts';
import { Terminal } from './support.ts';

/** As wide as the pages that show it, and high enough for all that can be wrong. */
const SIZE = { columns: 105, rows: 80 };
/** The doctor tells of a server that is younger, seconds. */
const OLD_SECONDS = 310;
const LOOK_MS = 5000;
/** Names and addresses that the pictures show. */
const HOST = 'localhost';

interface Scene {
  title: string;
  env: Record<string, string>;
}

const dir = mkdtempSync(join(tmpdir(), 'holdfast-'));

async function good(): Promise<Scene> {
  const server = await startRedis({ aof: true });
  await untilOld(server);
  for (const queue of ['email', 'faq', 'webhook']) {
    await server.command('HSET', `bull:${queue}:meta`, 'version', 'bullmq:6.7.0');
  }
  const env = { REDIS_URL: `redis://${HOST}:${server.port}` };
  return { title: 'holdfast doctor', env };
}

async function misconfigured(): Promise<Scene> {
  const server = await startRedis({
    args: ['--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru', '--timeout', '5'],
  });
  const ids = ['41', '42'];
  await server.command('HSET', 'bull:email:meta', 'version', 'bullmq:6.2.0');
  for (const id of ids) {
    const fields = { name: 'mail', data: '{}', opts: '{}', timestamp: Date.now(), ats: 1 };
    await server.command('HSET', `bull:email:${id}`, ...Object.entries(fields).flat());
    await server.command('RPUSH', 'bull:email:active', id);
  }
  await server.command('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-evalsha');
  return {
    title: 'holdfast doctor: misconfigured',
    env: {
      REDIS_URL: `redis://app:secret@${HOST}:${server.port}`,
      CONCURENCY: '20',
      REDIS_PASWORD: 'secret',
    },
  };
}

async function down(): Promise<Scene> {
  const env = { REDIS_URL: `redis://app:secret@${HOST}:${await freePort()}` };
  return { title: 'holdfast doctor: Redis is down', env };
}

async function untilOld(server: RedisServer): Promise<void> {
  for (;;) {
    const info = String(await server.command('INFO', 'server'));
    const age = Number(/^uptime_in_seconds:(\d+)/m.exec(info)?.[1]);
    if (age >= OLD_SECONDS) return;
    process.stdout.write(`the good server is ${age} s old; ${OLD_SECONDS} are needed\n`);
    await sleep(Math.max(LOOK_MS, (OLD_SECONDS - age) * 1000));
  }
}

/** What the terminal shows, with its styles as escape sequences. */
async function shown({ env }: Scene): Promise<string> {
  using terminal = new Terminal({ DATA_DIR: dir, ...env }, SIZE);
  await terminal.until(/^\$ ?$/m);
  terminal.type('holdfast doctor');
  terminal.press('Enter');
  await terminal.until(/^holdfast \d[^\n]*\n\$/m);
  return terminal.screen(true);
}

const COLOURS: Readonly<Record<string, string>> = {
  31: '#f38ba8',
  32: '#a6e3a1',
  33: '#f9e2af',
  36: '#89dceb',
};

const SGR = new RegExp(`${String.fromCharCode(27)}\\[([\\d;]*)m`);

/** SGR sequences, as far as the command line uses them, as spans. */
function html(text: string): string {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  let style = { colour: '', isBold: false, isDim: false };
  const parts = escaped.split(SGR);
  return parts
    .map((part, i) => {
      if (i % 2 === 0) {
        const { colour, isBold, isDim } = style;
        const css = `${colour && `color:${colour};`}${isBold ? 'font-weight:bold;' : ''}${isDim ? 'color:#7f849c;' : ''}`;
        return css && part ? `<span style="${css}">${part}</span>` : part;
      }
      for (const code of part.split(';')) {
        if (code === '' || code === '0') style = { colour: '', isBold: false, isDim: false };
        else if (code === '1') style.isBold = true;
        else if (code === '2') style.isDim = true;
        else if (code === '22') style = { ...style, isBold: false, isDim: false };
        else if (code === '39') style.colour = '';
        else if (COLOURS[code]) style.colour = COLOURS[code];
      }
      return '';
    })
    .join('');
}

function page(title: string, screen: string): string {
  const lights = ['#f38ba8', '#f9e2af', '#a6e3a1']
    .map((colour) => `<i style="background:${colour}"></i>`)
    .join('');
  return `<!doctype html><meta charset="utf-8"><style>
    body { margin: 0; display: inline-block; padding: 20px; background: #11111b; }
    main { border-radius: 10px; overflow: hidden; background: #1e1e2e; color: #cdd6f4; }
    header { background: #313244; color: #bac2de; font: 13px 'DejaVu Sans', sans-serif; padding: 8px 16px; }
    i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px; }
    pre { margin: 0; padding: 14px 20px; font: 14px/20px 'DejaVu Sans Mono', monospace; }
  </style><main><header>${lights} ${title}</header><pre>${html(screen)}</pre></main>`;
}

const SCENES: Readonly<Record<string, () => Promise<Scene>>> = {
  'doctor-redis-down': down,
  'doctor-misconfigured': misconfigured,
  'doctor-good': good,
};

const wanted = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: findChromium()!,
  // Containers run as root, where Chromium's own sandbox does not start.
  args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
});
try {
  for (const [name, prepare] of Object.entries(SCENES)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const scene = await prepare();
    const tab = await browser.newPage({
      viewport: { width: 1400, height: 900 },
      deviceScaleFactor: 1.4,
    });
    await tab.setContent(page(scene.title, await shown(scene)));
    await tab.locator('body').screenshot({ path: `docs/images/${name}.png` });
    process.stdout.write(`docs/images/${name}.png\n`);
  }
} finally {
  await browser.close();
  await stopAllRedis();
  rmSync(dir, { recursive: true, force: true });
}
