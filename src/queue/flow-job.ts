/** A flow of a client's caller, checked, as BullMQ's FlowProducer takes it. */
import type { FlowJob, JobsOptions } from 'bullmq';
import { InvalidInputError } from '../errors.ts';
import { checkList, checkShape } from './caller-input.ts';
import type { FlowInput } from './client.ts';

/** Jobs of one flow: BullMQ writes them in one transaction, during which Redis serves nobody else. */
const FLOW_JOBS_MAX = 1000;
const FIELDS = ['queue', 'name', 'data', 'options', 'children'];

/**
 * @param optionsOf checks a job of the flow and gives its options; `at` is where it stands in the input
 * @throws InvalidInputError, and what `optionsOf` throws
 */
export function flowJob(
  root: FlowInput,
  prefix: string,
  optionsOf: (node: FlowInput, at: string) => JobsOptions,
): FlowJob {
  let jobs = 0;
  const build = (node: FlowInput, at: string): FlowJob => {
    jobs += 1;
    if (jobs > FLOW_JOBS_MAX) {
      throw new InvalidInputError(
        'flow',
        `has more than ${FLOW_JOBS_MAX} jobs`,
        'Split it into several flows.',
      );
    }
    const remedy = 'Give { queue, name, data, options, children }.';
    checkShape(node, at.slice(0, -1) || 'flow', remedy, at, FIELDS);
    const { queue, name, data, children } = node;
    if (children !== undefined) checkList(children, `${at}children`);
    return {
      queueName: queue,
      name,
      data,
      opts: optionsOf(node, at),
      prefix,
      ...(children === undefined
        ? {}
        : { children: children.map((child, i) => build(child, `${at}children[${i}].`)) }),
    };
  };
  return build(root, '');
}
