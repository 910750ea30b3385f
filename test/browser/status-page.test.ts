/** The status page in a real browser, through an outage of a real Redis. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addJobs, openPage, openSite, picture, type Site, violationsOf } from './support/pages.ts';

const PHONE = { width: 390, height: 844 };
/** Sees every change of its own accord; the others are opened anew in each phase. */
let live: Page;
let faults: string[];
let site: Site;

beforeAll(async () => {
  site = await openSite();
  await addJobs(site.services[0]!, 60, 12);
  ({ page: live, faults } = await openPage(site, { colorScheme: 'light' }));
  await live.goto(site.url);
});
afterAll(() => site[Symbol.asyncDispose]());

const headlineIs = (page: Page, text: string) =>
  page.locator('h1', { hasText: text }).waitFor({ timeout: 20_000 });

/** What must hold in calm, in an outage and after it. */
async function look(headline: string, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const viewport of [{ width: 1100, height: 900 }, PHONE]) {
      const { page, faults: found } = await openPage(site, { colorScheme, viewport });
      await page.goto(site.url);
      await headlineIs(page, headline);
      expect(await violationsOf(page)).toEqual([]);
      const wide = await page.evaluate<number>('document.documentElement.scrollWidth');
      expect(wide).toBeLessThanOrEqual(viewport.width);
      expect(found).toEqual([]);
      const where = viewport === PHONE ? '-phone' : '';
      await picture(page, `status-${name}${where}${colorScheme === 'dark' ? '-dark' : ''}`);
      await page.context().close();
    }
  }
}

describe('the status page', () => {
  it('is calm while all is well', async () => {
    await headlineIs(live, 'All is well');
    await live.locator('#replicas-table th', { hasText: 'worker-2' }).waitFor();
    await look('All is well', 'calm');
  });

  it('can be used with the keyboard alone', async () => {
    await live.locator('body').press('Tab');
    expect(await live.evaluate('document.activeElement?.textContent')).toMatch(/Skip/);
    await live.keyboard.press('Enter');
    expect(await live.evaluate('document.activeElement?.id')).toBe('queues');
    await live.keyboard.press('Shift+Tab');
    expect(await live.evaluate('document.activeElement?.textContent')).toBe('Jobs');
  });

  it('tells of an outage without being loaded again: what, what to do, what is kept', async () => {
    await live.evaluate(`document.body.setAttribute('data-not-reloaded', '')`);
    await site.redis.kill();
    await headlineIs(live, 'Redis is away');
    await addJobs(site.services[0]!, 25, 0);
    await live.locator('#journal-body', { hasText: '25 accepted jobs' }).waitFor();
    const facts = (await live.locator('#facts').textContent()) ?? '';
    expect(facts).toMatch(/Condition.*refused.*What to do.*redis-server runs/s);
    expect(await live.locator('#outage-list').textContent()).toMatch(/goes on/);
    expect(await live.title()).toMatch(/Redis is away/);
  });

  it('is served while Redis is away', () => look('Redis is away', 'outage'));

  it('shows a page instead of the jobs while Redis is away, at once', async () => {
    const { page } = await openPage(site);
    const answer = await page.goto(`${site.url}/queues/`, { timeout: 2000 });
    expect(answer?.status()).toBe(503);
    expect(await page.locator('h1').textContent()).toBe('Redis is away');
    expect(await violationsOf(page)).toEqual([]);
    await page.context().close();
  });

  it('is calm again afterwards, and the timeline shows what was', async () => {
    await site.redis.restart();
    await headlineIs(live, 'All is well');
    // With the two that an earlier process of this replica saw.
    await live.locator('#outage-list li', { hasText: 'goes on' }).waitFor({ state: 'detached' });
    expect(await live.locator('#outage-list li').count()).toBe(3);
    expect(await live.locator('.timeline .outage').count()).toBe(3);
    expect(await live.locator('#outage-list').textContent()).toMatch(/9 min 0 s/);
    expect(await live.locator('body').getAttribute('data-not-reloaded')).toBe('');
    expect(faults).toEqual([]);
    await look('All is well', 'after');
  });

  it('says that it is not live when the service is gone, and keeps the last picture', async () => {
    await site.services[0]!.stop();
    await live.locator('#live', { hasText: 'does not answer' }).waitFor();
    expect(await live.locator('#queues-table').textContent()).toMatch(/email/);
  });
});
