/** The examples of docs/http.md, run as they stand there against a service. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { startHttpService } from '../support/http-service.ts';
import { startRedis } from '../support/redis-server.ts';

const page = readFileSync('docs/http.md', 'utf8');

function example(language: string): string {
  const [, code] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(page) ?? [];
  expect(code, `docs/http.md has an example in ${language}`).toBeDefined();
  return code!;
}

it.each([
  {
    language: 'sh',
    command: 'bash',
    flag: '-c',
    jobs: 1,
    says: /^\{"id":"key-\w{40}","stored":"redis"\}\s*$/,
  },
  {
    language: 'python',
    command: 'python3',
    flag: '-c',
    jobs: 2,
    says: /^(key-\w{40} redis\n){2}$/,
  },
])('adds jobs from $language as the page says', async ({ language, command, flag, jobs, says }) => {
  const redis = await startRedis();
  await using service = await startHttpService(redis.url);
  const code = example(language).replaceAll('http://127.0.0.1:8080', service.url);
  const { stdout } = await promisify(execFile)(command, [flag, code], { timeout: 20_000 });
  expect(stdout).toMatch(says);
  expect(await service.client.counts('faq')).toMatchObject({ waiting: jobs });
});
