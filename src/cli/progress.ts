/** A bar on stderr while long work goes on; nothing when nobody watches. */
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
