/** What the faq worker reads of the environment; docs/configuration.md lists it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export interface ModelSettings {
  baseUrl: string;
  apiKey: string;
  model: string;
  timeoutMs: number;
}

export interface FaqSettings {
  /** Absolute folders that questions may be answered from. */
  roots: string[];
  outputDir: string;
  /** undefined: documents are assembled from passages. */
  llm: ModelSettings | undefined;
}

const MODEL = 'gpt-4o-mini';
const TIMEOUT_MS = 120_000;
const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** @throws Error that names the variable */
export function faqSettings(
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): FaqSettings {
  const roots = (env.SOURCES_ROOTS || 'docs').split(',').map((root) => resolve(cwd, root.trim()));
  const baseUrl = env.LLM_BASE_URL || undefined;
  if (baseUrl !== undefined && !URL.canParse(baseUrl)) {
    throw new Error(`LLM_BASE_URL is not a URL: ${baseUrl}`);
  }
  const apiKey =
    env.LLM_API_KEY ||
    (env.LLM_API_KEY_FILE ? readFileSync(env.LLM_API_KEY_FILE, 'utf8').trim() : '');
  return {
    roots,
    outputDir: resolve(cwd, env.OUTPUT_DIR || 'output'),
    llm:
      baseUrl === undefined
        ? undefined
        : {
            baseUrl,
            // Endpoints on the own machine often want none; the client insists on a text.
            apiKey: apiKey || 'none',
            model: env.LLM_MODEL || MODEL,
            timeoutMs: timeout(env.LLM_TIMEOUT),
          },
  };
}

function timeout(text: string | undefined): number {
  if (!text) return TIMEOUT_MS;
  const match = /^(\d+)(ms|s|m)?$/.exec(text.trim());
  if (!match) throw new Error(`LLM_TIMEOUT is not a duration such as 90s: ${text}`);
  return Number(match[1]) * (UNITS_MS[match[2] ?? 'ms'] ?? 1);
}
