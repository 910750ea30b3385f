/** Signing in with a real browser, and what another page may not do with its cookie. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addJobs, openPage, openSite, picture, type Site, violationsOf } from './support/pages.ts';

const TOKEN = 'token-of-an-operator';
const READER = 'token-of-a-reader';
let site: Site;

beforeAll(async () => {
  site = await openSite({ HTTP_TOKEN: TOKEN, HTTP_READ_TOKEN: READER });
  await addJobs(site.services[0]!, 5, 1);
});
afterAll(() => site[Symbol.asyncDispose]());

async function signedIn(token = TOKEN) {
  const opened = await openPage(site);
  await opened.page.goto(site.url);
  await opened.page.getByLabel('Token of this service').fill(token);
  await opened.page.getByRole('button', { name: 'Sign in' }).click();
  await opened.page.locator('h1', { hasText: 'All is well' }).waitFor();
  return opened;
}

describe('a browser that has no token yet', () => {
  it.each(['light', 'dark'] as const)('is shown the form (%s)', async (colorScheme) => {
    const { page } = await openPage(site, { colorScheme });
    await page.goto(`${site.url}/queues/`);
    expect(new URL(page.url()).pathname).toBe('/login');
    expect(await violationsOf(page)).toEqual([]);
    await page.getByLabel('Token of this service').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    expect(await page.getByRole('alert').textContent()).toMatch(/not a token/);
    expect(await violationsOf(page)).toEqual([]);
    await picture(page, `login-refused-${colorScheme}`);
    await page.context().close();
  });

  it('gets a cookie for the token that no script can read, and gives it back on sign-out', async () => {
    const { page, faults } = await signedIn();
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
    expect(cookie!.value).not.toContain(TOKEN);
    expect(await page.evaluate('document.cookie')).toBe('');
    expect(faults).toEqual([]);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token of this service').waitFor();
    expect(await page.context().cookies()).toEqual([]);
    await page.context().close();
  });
});

describe('with the cookie', () => {
  it('a reader sees the page, and no way to what is not for readers', async () => {
    const { page, faults } = await signedIn(READER);
    await page.locator('#queues-table', { hasText: 'email' }).waitFor();
    expect(await page.getByRole('link', { name: 'Jobs' }).count()).toBe(0);
    expect(await page.getByRole('button', { name: 'Sign out' }).count()).toBe(1);
    expect((await page.goto(`${site.url}/queues/`))?.status()).toBe(403);
    expect(faults.filter((fault) => !fault.includes('403'))).toEqual([]);
    await page.context().close();
  });

  it('the jobs are shown by bull-board, whose scripts keep to the policy', async () => {
    const { page, faults } = await signedIn();
    await page.getByRole('link', { name: 'Jobs' }).click();
    await page.locator('a', { hasText: 'email' }).first().waitFor();
    // Its web font from another site is the one thing that is not let in.
    expect(faults.filter((fault) => !fault.includes('fonts.googleapis.com'))).toEqual([]);
    await page.context().close();
  });

  it('a page of another port of this machine adds no job and reads none', async () => {
    const { page } = await signedIn();
    const foreign = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>x</title>');
    });
    await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
    await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}`);
    const tried = await page.evaluate(async (url) => {
      const send = (path: string, method: string, type: string) =>
        fetch(url + path, {
          method,
          mode: 'no-cors',
          credentials: 'include',
          headers: { 'content-type': type },
          body: '{"data":{}}',
        }).catch(() => 'refused');
      await send('/v1/queues/email/jobs', 'POST', 'text/plain');
      await send('/v1/queues/email/jobs', 'POST', 'application/x-www-form-urlencoded');
      return fetch(`${url}/v1/queues`, { credentials: 'include' }).then(
        () => 'read',
        () => 'not read',
      );
    }, site.url);
    expect(tried).toBe('not read');
    const counts = await site.services[0]!.client.counts('email');
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(5);
    foreign.close();
    await page.context().close();
  });
});
