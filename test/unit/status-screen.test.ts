/** What `holdfast status` draws, as text. */
import { expect, it } from 'vitest';
import { drawStatus, type Status } from '../../src/cli/status-screen.ts';

const of = (service: Partial<Status['services'][number]>): string =>
  drawStatus({
    services: [
      {
        service: 'holdfast',
        status: 'ok',
        url: 'http://127.0.0.1:8080',
        replica: 'one',
        breaker: 'closed',
        ...service,
      },
    ],
    mute: [],
    source: 'Redis',
    replicas: [],
    isFleetComplete: true,
    queues: [],
    unknown: [],
  });

it('a warning stands below its service, with what to do, and in an outage no longer', () => {
  const warnings = [
    { name: 'save-failing', evidence: 'rdb_last_bgsave_status:err', remedy: 'Free disk space.' },
  ];
  expect(of({ warnings })).toMatch(
    /breaker closed\n! save-failing: rdb_last_bgsave_status:err\. Free disk space\.$/m,
  );
  expect(of({ warnings, breaker: 'open', condition: 'refused' })).not.toContain('save-failing');
});

it('a fleet without replicas and queues says so', () => {
  expect(of({})).toMatch(/No queues\.$/);
  expect(of({})).not.toMatch(/^replica +state/m);
});
