/** The clock of production. */
import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/time.ts';

it('fires at once for a moment that has passed, without a warning of Node', async () => {
  const warnings: Error[] = [];
  const hear = (warning: Error) => warnings.push(warning);
  process.on('warning', hear);
  onTestFinished(() => void process.off('warning', hear));
  await new Promise<void>((resolve) => systemClock.after(-0.5, resolve));
  // Warnings come in order: after this one, any of the timer's would be here.
  process.emitWarning('the last');
  await once(process, 'warning');
  expect(warnings.map(({ message }) => message)).toEqual(['the last']);
});
