import { byId, el, fill, setText } from './dom.js';
import { milliseconds, percent, plural, rate } from './format.js';
import { parseMetrics, quantile, type Totals, totalsOf } from './metrics-text.js';
import { sparkline } from './sparkline.js';

/** One interval between two readings. */
interface Interval {
  readonly perSecond: number;
  readonly median: number | undefined;
  readonly p95: number | undefined;
  readonly inFlight: number;
}

/** Two minutes at one reading in two seconds. */
const INTERVALS_KEPT = 60;

const intervals: Interval[] = [];
const readings: { readonly at: number; readonly totals: Totals }[] = [];

/** Takes another reading of `/metrics` and draws what the traffic was like lately. */
export function showTraffic(metrics: string): void {
  const totals = totalsOf(parseMetrics(metrics));
  const at = performance.now();
  const last = readings.at(-1);
  // A daemon that began anew counts from zero.
  if (last && totals.requests < last.totals.requests) readings.length = 0;
  else if (last) intervals.push(between(totals, last.totals, (at - last.at) / 1_000));
  readings.push({ at, totals });
  if (readings.length > INTERVALS_KEPT + 1) readings.shift();
  if (intervals.length > INTERVALS_KEPT) intervals.shift();
  draw(totals);
}

function between(now: Totals, before: Totals, seconds: number): Interval {
  return {
    perSecond: Math.max(0, now.requests - before.requests) / seconds,
    median: quantile(0.5, now, before),
    p95: quantile(0.95, now, before),
    inFlight: now.inFlight,
  };
}

function draw(totals: Totals): void {
  const [first] = readings;
  const now = intervals.at(-1);
  // Percentiles of single intervals jump about; the figures are of the whole window.
  const whole = first && {
    median: quantile(0.5, totals, first.totals),
    p95: quantile(0.95, totals, first.totals),
  };
  fill(
    byId('traffic-tiles'),
    tile(
      'Requests a second',
      rate(now?.perSecond ?? 0),
      '',
      intervals.map(({ perSecond }) => perSecond),
    ),
    tile(
      'Latency, median',
      whole?.median === undefined ? '–' : milliseconds(whole.median * 1_000),
      whole?.p95 === undefined ? 'no requests yet' : `95 % within ${milliseconds(whole.p95 * 1_000)}`,
      intervals.map(({ median }) => median),
    ),
    tile(
      'In the queue',
      String(now?.inFlight ?? totals.inFlight),
      '',
      intervals.map(({ inFlight }) => inFlight),
    ),
  );
  const { decisions, abstentions, truncated } = totals;
  setText(
    byId('traffic-totals'),
    decisions === 0
      ? 'No text was decided yet. The lines show the last two minutes.'
      : `${plural(decisions, 'decision')} since the start, ${percent(abstentions / decisions)} sent nowhere, ${truncated} cut. The lines show the last two minutes.`,
  );
}

function tile(
  name: string,
  figure: string,
  more: string,
  values: readonly (number | undefined)[],
): HTMLElement {
  return el(
    'div',
    { class: 'tile' },
    el(
      'div',
      {},
      el('span', { class: 'quiet' }, name),
      el('b', {}, figure),
      el('span', { class: 'quiet' }, more),
    ),
    sparkline(values, INTERVALS_KEPT),
  );
}
