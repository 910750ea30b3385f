/** Bars on stderr while long work goes on; nothing when nobody watches. */
import cliProgress from 'cli-progress';

export interface Progress {
  done(count: number): void;
  stop(): void;
}

/** `verb`, e.g. `removed`. A `total` of few is over before it is seen and gets no bar. */
export function progress(verb: string, total: number, barFrom = 1000): Progress {
  if (process.stderr.isTTY !== true || total < barFrom) return { done() {}, stop() {} };
  const bar = new cliProgress.SingleBar({
    format: `{bar} {percentage} %  {value} of {total} ${verb}  {eta_formatted} left`,
    stream: process.stderr,
    barCompleteChar: '#',
    barIncompleteChar: '·',
    barsize: 24,
    formatValue: (value, options, type) =>
      type === 'value' || type === 'total'
        ? value.toLocaleString('en')
        : cliProgress.Format.ValueFormat(value, options, type),
    hideCursor: false,
    clearOnComplete: true,
  });
  bar.start(total, 0);
  return {
    done: (count) => bar.update(Math.min(count, total)),
    stop: () => bar.stop(),
  };
}

/** As `progress`, for work whose end is known as a share at most: what is read from a pipe has none. */
export class ShareProgress {
  readonly #isShown = process.stderr.isTTY === true;
  readonly #bar = new cliProgress.SingleBar({
    format: (options, { progress: share }, { text, isMeasured }) =>
      isMeasured
        ? `${cliProgress.Format.BarFormat(share, options)} ${Math.floor(share * 100)} %  ${text}`
        : text,
    stream: process.stderr,
    barCompleteChar: '#',
    barIncompleteChar: '·',
    barsize: 24,
    hideCursor: false,
    clearOnComplete: true,
  });

  /** @param share 0 to 1, if it is known */
  show(text: string, share: number | undefined): void {
    if (!this.#isShown) return;
    const payload = { text, isMeasured: share !== undefined };
    if (!this.#bar.isActive) this.#bar.start(1, 0, payload);
    this.#bar.update(Math.min(1, share ?? 0), payload);
  }

  /** Makes room for other lines; the next `show` draws again. */
  clear(): void {
    if (this.#bar.isActive) this.#bar.stop();
  }
}
