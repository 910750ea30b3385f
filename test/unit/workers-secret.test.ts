/** Secrets of the workers that come along, as somebody rotates them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from 'holdfast';
import { expect, it, onTestFinished } from 'vitest';
import faq from '../../workers/faq.ts';
import webhook from '../../workers/webhook.ts';

it('the key of the model and the secret of webhooks are what their files say now', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'holdfast-secret-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  const file = join(cwd, 'secret');
  writeFileSync(file, 'b25l\n');
  const env = { LLM_BASE_URL: 'http://x', LLM_API_KEY_FILE: file, WEBHOOK_SECRET_FILE: file };
  const { config } = loadConfig({ env, cwd });
  const facts = { queues: [] };
  const [model, signing] = [await faq.setup!(config, facts), await webhook.setup!(config, facts)];
  const now = () => [model.llm?.apiKey, signing.secret];
  expect(now()).toEqual(['b25l', 'b25l']);
  writeFileSync(file, 'dHdv\n');
  expect(now()).toEqual(['dHdv', 'dHdv']);
  writeFileSync(file, '');
  expect(now()).toEqual(['dHdv', 'dHdv']);
  rmSync(file);
  expect(now()).toEqual(['dHdv', 'dHdv']);
});
