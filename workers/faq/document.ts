/**
 * The document: front matter, short answer, steps, related questions, and the passages with file and
 * lines. Assembled from the passages, or around what a model wrote. Pure.
 */
import type { Passage } from './passages.ts';

export interface DocumentInput {
  jobId: string;
  question: string;
  format: 'full' | 'short';
  passages: readonly Passage[];
  /** What a model wrote; undefined: assemble. */
  answer: string | undefined;
  model: string | undefined;
  notes: readonly string[];
}

export interface FaqDocument {
  markdown: string;
  mode: 'model' | 'assembled' | 'no-answer';
}

const STEPS_MAX = 10;
const SENTENCES_MAX = 3;
const RELATED_MAX = 4;
/** A result has its limit; what is cut is said. */
const CHARS_MAX = 200_000;

export function compose(input: DocumentInput): FaqDocument {
  const mode: FaqDocument['mode'] =
    input.passages.length === 0 ? 'no-answer' : input.answer === undefined ? 'assembled' : 'model';
  const parts = [frontMatter(input, mode), `# ${input.question}`];
  if (mode === 'no-answer') {
    parts.push(
      '## Short answer\n\nThe sources hold no passage that answers this question. Nothing was made up; add a source, or ask in other words.',
    );
  } else if (mode === 'model') {
    parts.push(input.answer!.trim());
  } else {
    parts.push(...assembled(input.question, input.passages));
  }
  if (input.format === 'full' && input.passages.length > 0) parts.push(quoted(input.passages));
  else if (input.passages.length > 0) parts.push(cited(input.passages));
  if (input.notes.length > 0) parts.push(`> ${input.notes.join(' ')}`);
  const markdown = `${parts.join('\n\n')}\n`;
  return {
    mode,
    markdown:
      markdown.length > CHARS_MAX
        ? `${markdown.slice(0, CHARS_MAX)}\n\n> Cut here: the document is longer than ${CHARS_MAX} characters.\n`
        : markdown,
  };
}

function frontMatter({ jobId, question, model }: DocumentInput, mode: string): string {
  return [
    '---',
    `job: ${JSON.stringify(jobId)}`,
    `question: ${JSON.stringify(question)}`,
    `mode: ${mode}`,
    `model: ${mode === 'model' ? JSON.stringify(model) : 'none'}`,
    '---',
  ].join('\n');
}

function assembled(question: string, passages: readonly Passage[]): string[] {
  const parts = [
    `## Short answer\n\n${shortAnswer(question, passages)}\n\n_Assembled from the passages below; no model was asked._`,
  ];
  const steps = stepsOf(passages);
  if (steps.length > 0) {
    parts.push(`## Steps\n\n${steps.map((step, i) => `${i + 1}. ${step}`).join('\n')}`);
  }
  const related = relatedTo(question, passages);
  if (related.length > 0) {
    parts.push(`## Related questions\n\n${related.map((line) => `- ${line}`).join('\n')}`);
  }
  return parts;
}

/** The sentences of the passages that hold most of the question's words, in reading order. */
function shortAnswer(question: string, passages: readonly Passage[]): string {
  const asked = new Set(question.toLowerCase().match(/\p{L}{4,}/gu) ?? []);
  const sentences = passages.flatMap((passage, rank) =>
    proseOf(passage.text).map((text, place) => ({
      text,
      rank,
      place,
      score: (text.toLowerCase().match(/\p{L}{4,}/gu) ?? []).filter((word) => asked.has(word))
        .length,
    })),
  );
  const chosen = sentences
    .sort((a, b) => b.score - a.score || a.rank - b.rank || a.place - b.place)
    .slice(0, SENTENCES_MAX)
    .sort((a, b) => a.rank - b.rank || a.place - b.place);
  if (chosen.length === 0) {
    return `See “${passages[0]!.heading}” (${citation(passages[0]!)}).`;
  }
  return chosen.map(({ text, rank }) => `${text} [${rank + 1}]`).join(' ');
}

/** Whole sentences of running text: no headings, lists, tables, code or front matter. */
function proseOf(text: string): string[] {
  const prose = withoutCode(text)
    .split('\n')
    // Lists with their continuation lines, tables, quotes.
    .filter((line) => !/^(\s+\S|[-*+|>#]|\d+[.)]\s)/.test(line))
    .join('\n')
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.replace(/\s+/g, ' ').trim());
  return prose
    .flatMap((paragraph) => paragraph.match(/[^.!?]+(?:\.(?=\S)[^.!?]*)*[.!?](?=\s|$)/g) ?? [])
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence.length >= 30 && sentence.length <= 400);
}

/** A list of fewer items is filled up from the next passage. */
const STEPS_MIN = 3;

/** Items of lists, the best passages first; numbered lists before bullets. */
function stepsOf(passages: readonly Passage[]): string[] {
  const numbered: string[] = [];
  const bullets: string[] = [];
  for (const [i, { text }] of passages.entries()) {
    if (numbered.length >= STEPS_MIN) break;
    let item: { into: string[]; text: string } | undefined;
    const flush = () => {
      if (item && !/^\[[^\]]*\]\([^)]*\)$/.test(item.text))
        item.into.push(`${item.text} [${i + 1}]`);
      item = undefined;
    };
    for (const line of withoutCode(text).split('\n')) {
      const match = /^\s{0,3}(?:(\d+)[.)]|[-*+])\s+(.*)$/.exec(line);
      if (match) {
        flush();
        item = { into: match[1] ? numbered : bullets, text: match[2]!.trim() };
      } else if (item && /^\s+\S/.test(line)) item.text += ` ${line.trim()}`;
      else flush();
    }
    flush();
  }
  const steps = numbered.length > 0 ? numbered : bullets;
  return [...new Set(steps)].slice(0, STEPS_MAX);
}

function withoutCode(text: string): string {
  return text.replace(/^\s*(`{3,}|~{3,})[\s\S]*?^\s*\1[^\n]*$/gm, '');
}

/** The asked question in another passage's heading is no other question. */
function relatedTo(question: string, passages: readonly Passage[]): string[] {
  const asked = plainWords(question);
  const seen = new Set<string>([passages[0]!.heading]);
  const related: string[] = [];
  for (const passage of passages.slice(1)) {
    if (seen.has(passage.heading) || plainWords(passage.heading) === asked) continue;
    seen.add(passage.heading);
    const isQuestion = passage.heading.endsWith('?');
    related.push(
      `${isQuestion ? passage.heading : `What do the sources say about “${passage.heading}”?`} (${citation(passage)})`,
    );
  }
  return related.slice(0, RELATED_MAX);
}

function plainWords(text: string): string {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).join(' ');
}

function citation({ file, from, to }: Passage): string {
  return `${file}, lines ${from}–${to}`;
}

function cited(passages: readonly Passage[]): string {
  return `## Sources\n\n${passages.map((p, i) => `${i + 1}. ${p.heading} — ${citation(p)}`).join('\n')}`;
}

function quoted(passages: readonly Passage[]): string {
  const blocks = passages.map(
    (passage, i) =>
      `### [${i + 1}] ${passage.heading}\n\n_${citation(passage)}_\n\n${passage.text}`,
  );
  return `## Passages\n\n${blocks.join('\n\n')}`;
}
