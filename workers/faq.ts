/**
 * `faq`: a question in, a document out. The answer comes from passages of the sources, each cited with
 * file and lines; a model writes it where one is configured, otherwise it is assembled from the best
 * passages and says so. Without a good passage it says that, and invents nothing.
 */
import { type Config, defineWorker } from 'holdfast';
import { z } from 'zod';
import { compose, type FaqDocument } from './faq/document.ts';
import { writeAnswer } from './faq/model.ts';
import { saveDocument } from './faq/output.ts';
import { toPassages } from './faq/passages.ts';
import { bestPassages } from './faq/rank.ts';
import { readSources, SourceRefused } from './faq/sources.ts';
import { currentSecret } from './shared/secret.ts';

const schema = z.object({
  question: z.string().trim().min(3).max(500),
  /** A folder or file inside SOURCES_ROOTS; default all of them. */
  sources: z.string().min(1).max(1000).optional(),
  /** `short`: the answer and what it rests on, without the passages. */
  format: z.enum(['full', 'short']).default('full'),
});

export interface FaqResult {
  markdown: string;
  /** The file in OUTPUT_DIR; undefined when the job's id cannot be a file name. */
  path: string | undefined;
  mode: FaqDocument['mode'];
  model: string | undefined;
  passages: { file: string; from: number; to: number; heading: string }[];
}

/** Above the longest LLM_TIMEOUT, which is what bounds an answer, ms. */
const TIMEOUT_MS = 35 * 60_000;

export default defineWorker<z.infer<typeof schema>, FaqResult, Config['faq']>({
  queue: 'faq',
  schema,
  attempts: 3,
  backoff: { type: 'exponential', delay: 2000, jitter: 0.5 },
  timeout: TIMEOUT_MS,
  setup({ faq }) {
    const apiKey = currentSecret(faq.llm?.apiKey, faq.llm?.apiKeyFile);
    return {
      ...faq,
      llm: faq.llm && {
        ...faq.llm,
        get apiKey() {
          return apiKey();
        },
      },
    };
  },
  async handler(job, ctx) {
    const { question, sources, format } = job.data;
    const settings = ctx.resources;
    await ctx.progress({ phase: 'reading', percent: 5 });
    const read = await readSources(settings.sourcesRoots, sources).catch((error: unknown) => {
      throw error instanceof SourceRefused ? ctx.fail(error.message) : error;
    });
    await ctx.progress({ phase: 'ranking', percent: 20 });
    const passages = bestPassages(question, read.files.flatMap(toPassages));

    let answer: string | undefined;
    if (settings.llm && passages.length > 0) {
      answer = await writeAnswer(question, passages, settings.llm, ctx.signal, (words) =>
        ctx.progress({
          phase: 'writing',
          percent: Math.min(95, 30 + Math.round(words / 8)),
          words,
        }),
      );
    }
    const document = compose({
      jobId: job.id ?? '',
      question,
      format,
      passages,
      answer,
      model: settings.llm?.model,
      notes: read.notes,
    });
    const path = await saveDocument(settings.outputDir, job.id ?? '', document.markdown);
    await ctx.progress({ phase: 'done', percent: 100 });
    return {
      markdown: document.markdown,
      path,
      mode: document.mode,
      model: answer === undefined ? undefined : settings.llm?.model,
      passages: passages.map(({ file, from, to, heading }) => ({ file, from, to, heading })),
    };
  },
});
