/**
 * A browser in front of two replicas on a real Redis, and what the tests ask of a page. Console errors
 * and failed scripts are kept: a page that breaks its own content security policy shows it there.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import axe from 'axe-core';
import pino from 'pino';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { fileNameOf, folderOfOutages, type StoredOutage } from '../../../src/outage/archive.ts';
import { openRecord } from '../../../src/outage/record.ts';
import { createService } from '../../../src/service.ts';
import type { Service } from '../../../src/service-contract.ts';
import type { WorkerDefinition } from '../../../src/worker/definition.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { findChromium } from './chromium.ts';

export interface Site extends AsyncDisposable {
  redis: RedisServer;
  services: Service[];
  browser: Browser;
  url: string;
}

/** Jobs long enough that some run whenever somebody looks. */
const WORKERS: WorkerDefinition[] = [
  { queue: 'email', concurrency: 5, handler: () => sleep(60) },
  { queue: 'reports', concurrency: 2, handler: () => sleep(1500) },
  { queue: 'webhook', concurrency: 10, handler: async () => {} },
] as WorkerDefinition[];

export async function openSite(settings: Record<string, string> = {}): Promise<Site> {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-test-pages-'));
  const redis = await startRedis({ aof: 'always' });
  const services = ['worker-1', 'worker-2'].map((replica) =>
    createService({
      settings: {
        REDIS_URL: redis.url,
        HTTP_PORT: '0',
        DATA_DIR: join(dir, replica),
        CONFIG_DIR: join(dir, 'config'),
        REPLICA: replica,
        ROLLBACK_WINDOW: '1s',
        ...settings,
      },
      workers: WORKERS,
      log: pino({ level: 'silent' }),
    }),
  );
  writeHistory(join(dir, 'worker-1'));
  for (const service of services) await service.start();
  const browser = await chromium.launch({
    executablePath: findChromium()!,
    // Containers and CI run as root, where Chromium's own sandbox does not start.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  return {
    redis,
    services,
    browser,
    url: services[0]!.address!,
    async [Symbol.asyncDispose]() {
      await browser.close();
      await Promise.all(services.map((service) => service.stop()));
      await redis.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** How long ago an earlier process of the replica saw outages, and how long they took, ms. */
const HISTORY = [
  { condition: 'frozen', agoMs: 15 * 3_600_000, lastedMs: 48_000 },
  { condition: 'failed-over', agoMs: 6.4 * 3_600_000, lastedMs: 9 * 60_000 },
] as const;

/** Records of outages in the data folder, as an earlier process left them. */
function writeHistory(dataDir: string): void {
  const dir = folderOfOutages(dataDir);
  mkdirSync(dir, { recursive: true });
  for (const { condition, agoMs, lastedMs } of HISTORY) {
    const startedAt = Date.now() - agoMs;
    const endedAt = startedAt + lastedMs;
    const record: StoredOutage = {
      ...openRecord(randomUUID(), condition, startedAt, 3),
      ...{ format: 1, replica: 'worker-1', version: '0.1.0', host: 'earlier', pid: 1 },
      ...{ commandLine: 'holdfast start', interrupted: false, updatedAt: endedAt, endedAt },
    };
    writeFileSync(join(dir, fileNameOf(record)), JSON.stringify(record));
  }
}

/** A page that keeps what went wrong in it. */
export async function openPage(
  { browser }: Site,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; faults: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
  });
  return { page, faults };
}

/** What axe finds, as one line each. */
export async function violationsOf(page: Page): Promise<string[]> {
  // Through the debugger, as the page's own policy rightly lets no foreign script in.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(async () => {
    const { axe: inPage } = globalThis as unknown as { axe: typeof axe };
    return inPage.run();
  });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
}

/** What the documentation shows. */
const SHOWN = [
  'status-calm',
  'status-calm-dark',
  'status-outage',
  'status-outage-phone',
  'status-outage-phone-dark',
  'status-after',
];

/** Pictures for people: into .cache, and with UPDATE_SCREENSHOTS=1 those that are shown into docs. */
export async function picture(page: Page, name: string): Promise<void> {
  const isForDocs = process.env.UPDATE_SCREENSHOTS === '1' && SHOWN.includes(name);
  const dir = isForDocs ? 'docs/images' : '.cache/browser';
  mkdirSync(dir, { recursive: true });
  await page.screenshot({ path: join(dir, `${name}.png`), fullPage: true });
}

/** Jobs for every queue, so that there is something to see. */
export async function addJobs(service: Service, emails: number, reports: number): Promise<void> {
  const jobs = (count: number) => Array.from({ length: count }, () => ({ name: 'job', data: {} }));
  await service.client.enqueueMany('email', jobs(emails));
  await service.client.enqueueMany('reports', jobs(reports));
}
