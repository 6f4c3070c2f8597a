import type { Sample, SoakResult } from './soak.js';
import { escapeHtml, n, STYLE } from './style.js';

const WIDTH = 1_000;
const HEIGHT = 180;
const LEFT = 60;

interface Line {
  readonly name: string;
  readonly colour: string;
  of(sample: Sample): number;
}

/** A page with the figures of a soak, and latency, memory and descriptors over time. */
export function reportPage({ minutes, samples, lines, shortfalls }: SoakResult): string {
  const figure = (title: string, ...drawn: Line[]): string =>
    `<section><h2>${title}</h2><div class="scroll">${plot(samples, drawn)}</div></section>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Soak of ${minutes} minutes</title><style>${STYLE}</style>
<main><h1>Soak of ${minutes} minutes</h1>
<ul>${[...lines, ...shortfalls.map((what) => `SHORT: ${what}`)].map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>
${figure(
  'Latency of one text, ms',
  { name: 'p50', colour: 'var(--good)', of: ({ p50 }) => p50 },
  { name: 'p99', colour: 'var(--bad)', of: ({ p99 }) => p99 },
)}
${figure(
  'Resident memory, MB',
  { name: 'daemon', colour: 'var(--good)', of: ({ daemonMb }) => daemonMb },
  { name: 'inference processes', colour: 'var(--warn)', of: ({ workersMb }) => workersMb },
)}
${figure('Descriptors of the daemon', { name: 'descriptors', colour: 'var(--good)', of: ({ descriptors }) => descriptors })}
</main></html>
`;
}

function plot(samples: readonly Sample[], drawn: readonly Line[]): string {
  const last = samples.at(-1)?.at ?? 1;
  const values = samples.flatMap((sample) => drawn.map(({ of }) => of(sample))).filter(Number.isFinite);
  const top = values.reduce((most, value) => Math.max(most, value), 1) * 1.05;
  const x = (at: number): number => LEFT + (at / last) * WIDTH;
  const y = (value: number): number => 10 + (1 - value / top) * HEIGHT;
  const grid = [0, 0.25, 0.5, 0.75, 1]
    .map((share) => {
      const at = n(y(share * top));
      return `<line x1="${LEFT}" x2="${LEFT + WIDTH}" y1="${at}" y2="${at}" stroke="var(--grid)"/><text x="${LEFT - 8}" y="${at}" font-size="11" text-anchor="end" class="quiet">${n(share * top)}</text>`;
    })
    .join('');
  const paths = drawn.map(({ colour, of }) => {
    const points = samples
      .filter((sample) => Number.isFinite(of(sample)))
      .map((sample) => `${n(x(sample.at))},${n(y(of(sample)))}`);
    return `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"/>`;
  });
  const legend = drawn.map(({ name, colour }) => `<span><i style="background:${colour}"></i>${name}</span>`);
  const base = HEIGHT + 28;
  return `<svg width="${LEFT + WIDTH + 20}" height="${base + 6}" viewBox="0 0 ${LEFT + WIDTH + 20} ${base + 6}" role="img">${grid}${paths.join('')}
<text x="${LEFT}" y="${base}" font-size="11" class="quiet">0</text><text x="${LEFT + WIDTH}" y="${base}" font-size="11" text-anchor="end" class="quiet">${Math.round(last)} s</text></svg>
<div class="legend">${legend.join('')}</div>`;
}
