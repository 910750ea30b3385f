/**
 * Elements, tables and the timeline of the status page. Text goes in as text, never as markup, so that
 * the name of a queue or a replica cannot become part of the page.
 */

const SVG = 'http://www.w3.org/2000/svg';
const DAY_MS = 24 * 60 * 60_000;
/** Drawn at least so wide, or a short outage in a day could not be seen; in units of the view box. */
const OUTAGE_WIDTH_MIN = 3;

/** An element with attributes and children; strings become text. */
export function element(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined));
  return node;
}

/**
 * A table; `columns`: `{ name, isNumber }`, `rows`: `{ cells, isStale }`, the first cell of a row names it.
 */
export function table(caption, columns, rows) {
  const head = columns.map(({ name, isNumber }) =>
    element('th', { scope: 'col', class: isNumber ? 'number' : undefined }, name),
  );
  const body = rows.map(({ cells, isStale }) =>
    element(
      'tr',
      { class: isStale ? 'stale' : undefined },
      ...cells.map((cell, index) => {
        if (index === 0) return element('th', { scope: 'row' }, cell);
        const { name, isNumber } = columns[index];
        return element('td', { 'data-name': name, class: isNumber ? 'number' : undefined }, cell);
      }),
    ),
  );
  return element(
    'table',
    { 'aria-label': caption },
    element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...body),
  );
}

/**
 * The last day as a band with its outages, for `pixels` of width. `seenFrom`: nothing is known of the
 * time before.
 */
export function timeline(outages, now, seenFrom, pixels) {
  const width = Math.max(240, pixels);
  const from = now - DAY_MS;
  const x = (at) => ((Math.max(from, at) - from) / DAY_MS) * width;
  const bars = outages.map(({ startedAt, endedAt }) => {
    const left = x(startedAt);
    const wide = Math.max(OUTAGE_WIDTH_MIN, x(endedAt ?? now) - left);
    return svg('rect', {
      class: 'outage',
      x: Math.min(left, width - wide),
      y: 4,
      width: wide,
      height: 40,
      rx: 1,
    });
  });
  const ticks = [];
  const hour = new Date(from);
  hour.setMinutes(0, 0, 0);
  for (let at = hour.getTime() + 60 * 60_000; at < now; at += 60 * 60_000) {
    const hours = new Date(at).getHours();
    if (hours % 6 !== 0) continue;
    const place = x(at);
    ticks.push(svg('line', { x1: place, x2: place, y1: 48, y2: 54 }));
    const anchor = place < 30 ? 'start' : place > width - 30 ? 'end' : 'middle';
    const label = `${String(hours).padStart(2, '0')}:00`;
    ticks.push(svg('text', { x: place, y: 70, 'text-anchor': anchor }, label));
  }
  return svg(
    'svg',
    { class: 'timeline', viewBox: `0 0 ${width} 76`, role: 'img', 'aria-label': spoken(outages) },
    svg('rect', { class: 'unseen', x: 0, y: 10, width, height: 28, rx: 4 }),
    svg('rect', {
      class: 'day',
      x: x(seenFrom),
      y: 10,
      width: width - x(seenFrom),
      height: 28,
      rx: 4,
    }),
    ...bars,
    ...ticks,
  );
}

function spoken(outages) {
  if (outages.length === 0) return 'Timeline of the last 24 hours: no outage.';
  const count = outages.length === 1 ? 'one outage' : `${outages.length} outages`;
  return `Timeline of the last 24 hours: ${count}, listed below.`;
}

/** A bar that is filled by `share`, 0 to 1. */
export function bar(share, label) {
  return svg(
    'svg',
    {
      class: 'bar',
      viewBox: '0 0 100 2',
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': label,
    },
    svg('rect', { width: 100, height: 2 }),
    svg('rect', { width: Math.min(100, Math.max(0, share * 100)), height: 2 }),
  );
}

/** `3 min 20 s`; ms in. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (ms < 10_000 && ms % 1000 !== 0) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** `14:03:20` here, with the day when it was another one. */
export function time(at) {
  const date = new Date(at);
  const clock = date.toLocaleTimeString('en-GB');
  if (date.toDateString() === new Date().toDateString()) return clock;
  return `${date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, ${clock}`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 ** 2) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 ** 2).toFixed(1)} MiB`;
}
