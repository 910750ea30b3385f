import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Interruption } from '../../src/cli/interruption.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A step that is under way, and what the process was told to end with. */
function underWay() {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => {}) as never);
  const tell = vi.fn();
  const interruption = new Interruption(tell);
  onTestFinished(() => interruption[Symbol.dispose]());
  const { promise, resolve } = Promise.withResolvers<void>();
  void interruption.step(() => promise);
  return { exit, tell, done: resolve };
}

describe('an interruption', () => {
  it('takes the same signal within a second for one, and waits for the step', async () => {
    const { exit, tell, done } = underWay();
    for (let i = 0; i < 3; i++) expect(process.emit('SIGINT', 'SIGINT')).toBe(true);
    expect(exit).not.toHaveBeenCalled();
    done();
    await expect.poll(() => exit.mock.calls).toEqual([[130]]);
    expect(tell).toHaveBeenCalledOnce();
  });

  it('ends at once by a second one later, or by the other of the two', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { exit, tell } = underWay();
    process.emit('SIGINT', 'SIGINT');
    vi.advanceTimersByTime(1001);
    process.emit('SIGINT', 'SIGINT');
    expect(exit.mock.calls).toEqual([[130]]);
    process.emit('SIGTERM', 'SIGTERM');
    expect(exit.mock.calls).toEqual([[130], [143]]);
    expect(tell).not.toHaveBeenCalled();
  });
});
