import { byId, el, fill, milliseconds, percent, plural, rate, setText } from './dom.js';
import { parseMetrics, quantile, type Totals, totalsOf } from './metrics-text.js';

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
      whole?.p95 === undefined
        ? totals.decisions === 0
          ? 'no requests yet'
          : 'none in the last two minutes'
        : `95 % within ${milliseconds(whole.p95 * 1_000)}`,
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

const SVG = 'http://www.w3.org/2000/svg';

/** Height of the picture's own coordinates; the style stretches it. */
const HEIGHT = 48;

/**
 * Draws the last values from left to right, the newest at the right edge; gaps are where nothing was measured. It
 * repeats the figure beside it, so that a screen reader passes over it.
 * @param width how many values fill it
 */
function sparkline(values: readonly (number | undefined)[], width: number): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', `0 0 ${width - 1} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const from = width - values.length;
  let run: [number, number][] = [];
  const end = (): void => {
    const [first] = run;
    const last = run.at(-1);
    if (first && last) {
      // A single value would be a line without length.
      if (first === last) run.push([last[0] + 0.5, last[1]]);
      add(svg, 'polygon', [[first[0], HEIGHT], ...run, [(run.at(-1) ?? last)[0], HEIGHT]]);
      add(svg, 'polyline', run);
    }
    run = [];
  };
  for (const [index, value] of values.entries()) {
    if (value === undefined) end();
    else run.push([from + index, HEIGHT - (value / top) * (HEIGHT - 4)]);
  }
  end();
  return svg;
}

function add(svg: SVGSVGElement, name: 'polygon' | 'polyline', points: readonly (readonly number[])[]): void {
  const shape = document.createElementNS(SVG, name);
  shape.setAttribute('points', points.map(([x = 0, y = 0]) => `${x},${y.toFixed(1)}`).join(' '));
  svg.append(shape);
}
