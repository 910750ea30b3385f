/**
 * Texts cut into passages: what stands under one heading, in pieces that a person would quote. A code
 * block is never cut. Pure.
 */
import type { SourceFile } from './sources.ts';

export interface Passage {
  file: string;
  /** First and last line, from 1. */
  from: number;
  to: number;
  /** The headings above it, outermost first. */
  path: string[];
  /** The nearest heading. */
  heading: string;
  text: string;
}

/** A passage is closed at the next blank line after this many characters. */
const CHARS_GOAL = 1200;

export function toPassages({ file, text }: SourceFile): Passage[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const passages: Passage[] = [];
  const path: string[] = [];
  let begun = 0;
  let chars = 0;
  let fence: string | undefined;

  const close = (end: number) => {
    let from = begun;
    let to = end;
    while (from < to && lines[from]?.trim() === '') from += 1;
    while (to > from && lines[to - 1]?.trim() === '') to -= 1;
    const body = lines.slice(from, to).join('\n');
    if (body.trim() !== '') {
      const heading = path.at(-1) ?? file;
      passages.push({ file, from: from + 1, to, path: [...path], heading, text: body });
    }
    begun = end;
    chars = 0;
  };

  for (const [i, line] of lines.entries()) {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (mark && (fence === undefined || mark.startsWith(fence))) {
      fence = fence === undefined ? mark.slice(0, 3) : undefined;
    }
    const heading = fence === undefined ? /^(#{1,6})\s+(.+?)\s*#*$/.exec(line) : null;
    if (heading) {
      close(i);
      path.length = Math.min(path.length, heading[1]!.length - 1);
      path.push(heading[2]!);
      begun = i + 1;
      continue;
    }
    chars += line.length + 1;
    if (chars > CHARS_GOAL && line.trim() === '' && fence === undefined) close(i + 1);
  }
  close(lines.length);
  return passages;
}
