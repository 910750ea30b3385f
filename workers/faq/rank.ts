/**
 * The passages that answer a question best, or none. Full-text ranking by MiniSearch; ours is only the
 * decision whether the best is good enough to be called an answer.
 */
import MiniSearch, { type SearchResult } from 'minisearch';
import type { Passage } from './passages.ts';

const PASSAGES_MAX = 6;
/** Of the question's words that mean something, a passage must hold this share to count. */
const COVERAGE_MIN = 0.5;
/** What scores less than this share of the best is noise beside it. */
const SCORE_SHARE_MIN = 0.25;

const STOP_WORDS = new Set(
  `a about after again all also am an and any are as at be because been before being below between
  both but by can could did do does doing don for from further get give had has have having he her
  here hers him his how i if in into is it its just let like may me might mine more most must my need
  no nor not of off on once one only or other our out over own please same shall she should so some
  such tell than that the their them then there these they this those through to too under until up
  us very was way we were what when where which while who whom whose why will with would you your`.split(
    /\s+/,
  ),
);

/** Words that people use for the same thing when something is broken. */
const SAME: Readonly<Record<string, readonly string[]>> = {
  down: ['outage', 'away', 'unavailable'],
  outage: ['down', 'away', 'unavailable'],
  broken: ['failure', 'outage'],
  crash: ['killed', 'failure'],
  crashes: ['killed', 'failure'],
  slow: ['latency'],
  lost: ['loss', 'lose'],
  lose: ['lost', 'loss'],
  fix: ['remedy', 'troubleshooting'],
};

const words = (text: string) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
const isWord = (word: string) => word.length > 1 && !STOP_WORDS.has(word);

/** A crude stem, for plural and tense: the same for index and question, so it need not be right. */
function stem(word: string): string {
  return word.length > 4 ? word.replace(/(?:ies|ing|ed|es|s|e)$/, '') : word;
}

export function bestPassages(question: string, passages: readonly Passage[]): Passage[] {
  const asked = [...new Set(words(question).filter(isWord))];
  if (asked.length === 0 || passages.length === 0) return [];
  const index = new MiniSearch<{ id: number; heading: string; text: string }>({
    fields: ['heading', 'text'],
    tokenize: words,
    processTerm: (term) => (isWord(term) ? stem(term) : null),
    searchOptions: { boost: { heading: 3 }, combineWith: 'OR' },
  });
  index.addAll(passages.map(({ path, text }, id) => ({ id, heading: path.join(' '), text })));
  const query = asked.flatMap((word) => [word, ...(SAME[word] ?? [])]).join(' ');
  const found = index
    .search(query)
    .filter((result) => coverage(asked, result) >= COVERAGE_MIN)
    .sort((a, b) => b.score * coverage(asked, b) - a.score * coverage(asked, a));
  const best = found[0]?.score ?? 0;
  return found
    .filter(({ score }) => score >= best * SCORE_SHARE_MIN)
    .slice(0, PASSAGES_MAX)
    .map(({ id }) => passages[id as number]!);
}

/** The share of the question's words, or words for the same, that a passage holds. */
function coverage(asked: readonly string[], { terms }: SearchResult): number {
  const held = new Set(terms);
  const hits = asked.filter((word) =>
    [word, ...(SAME[word] ?? [])].some((same) => held.has(stem(same))),
  );
  return hits.length / asked.length;
}
