/**
 * The status page: shows what `/v1/status/events` sends, as it comes. What this page itself cannot
 * know (the service is gone, the stream is broken) it says as well, and keeps the last picture.
 */
import { bar, bytes, duration, element, table, time, timeline } from './draw.js';

/** Enough of an id to tell outages apart. */
const ID_CHARS = 8;
/** Ages are shown by the second. */
const TICK_MS = 1000;
/** A closed stream is opened again after this; the browser does so itself after an error. */
const REOPEN_MS = 2000;

const byId = (id) => document.getElementById(id);
let status;
let isLive = false;

function show() {
  if (!status) return;
  const { level, headline, sentence, breaker, condition, warnings, replica, version } = status;
  byId('summary').dataset.level = level;
  // A live region is read out whenever it is written: only when it differs.
  setText('headline', headline);
  setText('sentence', sentence);
  document.title = `${level === 'calm' ? '' : `${headline} · `}Holdfast`;
  setText('replica', `${replica} · ${version}`);
  byId('logout').hidden = !status.isLocked;
  byId('jobs').hidden = status.scope !== 'administer';
  byId('facts').replaceChildren(...facts(breaker, condition, warnings));
  showQueues();
  showOutages();
  showReplicas();
  showJournal();
}

function setText(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function facts(breaker, condition, warnings) {
  const rows = [['Breaker', breaker.state]];
  if (breaker.state === 'closed') rows[0][1] += `, for ${age(breaker.since)}`;
  else if (condition) {
    const present = status.outages.find(({ endedAt }) => endedAt === undefined);
    if (present)
      rows.unshift(['Away since', `${time(present.startedAt)}, for ${age(present.startedAt)}`]);
    rows.push([
      'Condition',
      condition.cause ? `${condition.name} (${condition.cause})` : condition.name,
    ]);
    if (condition.remedy) rows.push(['What to do', condition.remedy]);
    if (condition.evidence) rows.push(['Where to look', condition.evidence]);
    if (breaker.outageId) rows.push(['Outage', breaker.outageId]);
  }
  for (const { name, evidence, remedy } of warnings) {
    rows.push(['Warning', `${name}: ${evidence}`], ['What to do', remedy]);
  }
  return rows.flatMap(([name, text]) => [
    element('dt', {}, name),
    element('dd', {}, ...withCode(text)),
  ]);
}

/** What stands between backticks as code. */
function withCode(text) {
  return text.split('`').map((part, index) => (index % 2 ? element('code', {}, part) : part));
}

/** How long ago, by the second. */
function age(at) {
  return duration(Math.floor((Date.now() - at) / 1000) * 1000);
}

const QUEUE_COLUMNS = [
  { name: 'Queue' },
  { name: 'Waiting', isNumber: true },
  { name: 'Oldest', isNumber: true },
  { name: 'Active', isNumber: true },
  { name: 'Delayed', isNumber: true },
  { name: 'Failed', isNumber: true },
  { name: 'Done per min', isNumber: true },
  { name: 'Here' },
];

function showQueues() {
  const isAway = status.breaker.state !== 'closed';
  const readAt = Math.max(0, ...status.queues.map(({ reading }) => reading?.readAt ?? 0));
  const note = readAt === 0 ? 'Only Redis knows how many jobs wait.' : `As of ${time(readAt)}.`;
  setText('queues-note', isAway ? note : '');
  byId('queues-note').hidden = !isAway;
  const rows = status.queues.map(({ queue, reading, running, concurrency, perMinute, ...rest }) => {
    const known = (name) => (reading === null ? '–' : reading[name].toLocaleString('en'));
    const oldest = reading?.oldestAt ? age(reading.oldestAt) : '–';
    const runs = `${running} of ${concurrency ?? '?'} running`;
    const isPaused = reading?.isPaused;
    const why = isAway ? 'takes no more' : isPaused ? 'paused' : (rest.reason ?? 'not consumed');
    const here =
      rest.isConsuming && !isPaused ? runs : element('span', {}, `${runs}, `, mark('notice', why));
    const rate = perMinute === undefined ? '–' : perMinute.toLocaleString('en');
    const cells = [
      queue,
      known('waiting'),
      oldest,
      known('active'),
      known('delayed'),
      known('failed'),
      rate,
      here,
    ];
    return { cells, isStale: isAway };
  });
  const empty = element('p', { class: 'quiet' }, 'No handler names a queue.');
  byId('queues-table').replaceChildren(
    rows.length === 0 ? empty : table('Queues', QUEUE_COLUMNS, rows),
  );
}

function mark(level, text) {
  return element('span', { class: 'mark', 'data-level': level }, text);
}

function showOutages() {
  const { outages, startedAt } = status;
  const now = Date.now();
  byId('timeline').replaceChildren(timeline(outages, now, startedAt, byId('timeline').clientWidth));
  const items = outages.toReversed().map(({ id, fleetId, startedAt: from, endedAt, ...rest }) => {
    const { condition, meaning } = rest;
    const postMortem = `/v1/outages/${encodeURIComponent(id)}/post-mortem`;
    return element(
      'li',
      {},
      element('time', { datetime: new Date(from).toISOString() }, time(from)),
      endedAt === undefined
        ? mark('outage', `for ${age(from)}, goes on`)
        : element('span', {}, duration(endedAt - from)),
      element('span', { class: 'quiet' }, meaning ? `${condition}: ${meaning}` : condition),
      element(
        'a',
        {
          href: postMortem,
          class: 'quiet',
          'aria-label': `Post-mortem of ${time(from)}`,
        },
        'Post-mortem',
      ),
      fleetId &&
        element(
          'a',
          {
            href: `${postMortem}?fleet=1`,
            class: 'quiet',
            title: fleetId,
            'aria-label': `Post-mortem of fleet outage ${fleetId.slice(0, ID_CHARS)}`,
          },
          `Fleet outage ${fleetId.slice(0, ID_CHARS)}`,
        ),
    );
  });
  const known = `${items.length === 0 ? 'No outage. ' : ''}Watched since ${time(startedAt)}.`;
  byId('outage-list').replaceChildren(
    ...(items.length === 0 ? [] : [element('ul', { class: 'list' }, ...items)]),
    element('p', { class: 'quiet' }, known),
  );
}

const REPLICA_COLUMNS = [
  { name: 'Replica' },
  { name: 'State' },
  { name: 'Running', isNumber: true },
  { name: 'Version' },
  { name: 'Since' },
  { name: 'Seen' },
];

function showReplicas() {
  const { replicas, isComplete } = status.fleet;
  const note = isComplete
    ? ''
    : 'This replica is shown as it is now, the others as they were last seen.';
  setText('replicas-note', note);
  byId('replicas-note').hidden = note === '';
  const rows = replicas.map((replica) => {
    const sum = (name) => replica.queues.reduce((total, queue) => total + queue[name], 0);
    const state =
      replica.state === 'running'
        ? 'running'
        : element(
            'span',
            {},
            mark('notice', replica.state),
            replica.reason ? `: ${replica.reason}` : '',
          );
    const cells = [
      replica.replica,
      state,
      `${sum('running')} of ${sum('concurrency')}`,
      replica.version,
      time(Date.parse(replica.startedAt)),
      seen(Date.parse(replica.seenAt)),
    ];
    return { cells };
  });
  byId('replicas-table').replaceChildren(
    ...(rows.length === 0 ? [] : [table('Replicas', REPLICA_COLUMNS, rows)]),
  );
}

function seen(at) {
  return Date.now() - at < 2000 ? 'now' : `${age(at)} ago`;
}

function showJournal() {
  const { journal } = status;
  if (journal === null) {
    byId('journal-body').replaceChildren(
      element('p', { class: 'quiet' }, 'This service has none.'),
    );
    return;
  }
  const { entries, jobs, outcomes, refused, bytes: size, bytesMax, oldestAt } = journal;
  const room = `${bytes(size)} of ${bytes(bytesMax)}`;
  const parts =
    entries === 0
      ? ['Empty, as it is whenever Redis is there.']
      : [`It holds ${jobs} accepted jobs and ${outcomes} outcomes.`];
  if (oldestAt) parts.push(`The oldest is ${age(oldestAt)} old.`);
  if (refused > 0) parts.push(`${refused} entries that Redis refuses wait for a person.`);
  byId('journal-body').replaceChildren(
    element('p', {}, parts.join(' ')),
    bar(size / bytesMax, `The journal holds ${room}.`),
    element('p', { class: 'quiet' }, room),
  );
}

function listen() {
  const events = new EventSource('/v1/status/events');
  events.addEventListener('status', ({ data }) => {
    status = JSON.parse(data);
    setLive(true);
    show();
  });
  events.addEventListener('stopping', () => reopen(events));
  events.onerror = () => {
    setLive(false);
    if (events.readyState === EventSource.CLOSED) reopen(events);
  };
}

/** The service is restarting, or wants a token again: then the form is shown instead. */
function reopen(events) {
  events.close();
  setLive(false);
  setTimeout(async () => {
    const answer = await fetch('/v1/status', { method: 'HEAD' }).catch(() => undefined);
    if (answer?.status === 401) location.assign('/login');
    else listen();
  }, REOPEN_MS);
}

function setLive(now) {
  isLive = now;
  if (!now && status)
    setText('live', 'The service does not answer; this is the last that it said. Trying again …');
  if (now) setText('live', 'Live.');
}

setInterval(() => isLive && show(), TICK_MS);
listen();
