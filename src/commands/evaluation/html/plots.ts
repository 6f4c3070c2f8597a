import type { Evaluation, ScoreHistogram } from '../evaluation.js';
import { n, percent } from './markup.js';

const SIZE = 300;
const LEFT = 46;
const TOP = 12;
const HISTOGRAM = 56;

/** How often a score was right, by score, with the number of texts below: on the diagonal, scores are probabilities. */
export function reliabilityPlot({ calibration }: Evaluation): string {
  const { bins } = calibration;
  const width = LEFT + SIZE + 16;
  const height = TOP + SIZE + HISTOGRAM + 62;
  const x = (value: number): number => LEFT + value * SIZE;
  const y = (value: number): number => TOP + (1 - value) * SIZE;
  const most = Math.max(1, ...bins.map(({ texts }) => texts));
  const base = TOP + SIZE + 14 + HISTOGRAM;
  let bars = '';
  let points = '';
  let counts = '';
  for (const { from, to, texts, confidence, accuracy } of bins) {
    if (confidence === null || accuracy === null) continue;
    const title = `<title>score ${from.toFixed(1)} to ${to.toFixed(1)}: ${texts} texts, mean score ${percent(confidence)}, right ${percent(accuracy)}</title>`;
    // Bins with hardly any text are pale: their height is chance.
    const weight = texts < 10 ? 0.12 : 0.3;
    bars += `<rect x="${n(x(from) + 1)}" y="${n(y(accuracy))}" width="${n(x(to) - x(from) - 2)}" height="${n(accuracy * SIZE)}" fill="var(--good)" fill-opacity="${weight}">${title}</rect>`;
    points += `<line x1="${n(x(confidence))}" x2="${n(x(confidence))}" y1="${n(y(accuracy))}" y2="${n(y(confidence))}" stroke="var(--bad)" stroke-width="2"/><circle cx="${n(x(confidence))}" cy="${n(y(accuracy))}" r="${texts < 10 ? 3 : 4.5}" fill="var(--good)">${title}</circle>`;
    const tall = (texts / most) * HISTOGRAM;
    counts += `<rect x="${n(x(from) + 1)}" y="${n(base - tall)}" width="${n(x(to) - x(from) - 2)}" height="${n(tall)}" fill="var(--muted)" fill-opacity="0.55">${title}</rect>`;
  }
  const ticks = [0, 0.25, 0.5, 0.75, 1]
    .map(
      (value) =>
        `<text x="${n(x(value))}" y="${base + 16}" font-size="11" text-anchor="middle" class="quiet">${value}</text>` +
        `<text x="${LEFT - 8}" y="${n(y(value) + 4)}" font-size="11" text-anchor="end" class="quiet">${value * 100} %</text>` +
        `<line x1="${LEFT}" x2="${LEFT + SIZE}" y1="${n(y(value))}" y2="${n(y(value))}" stroke="var(--grid)"/>`,
    )
    .join('');
  return `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Reliability plot">
${ticks}${bars}<line x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}" stroke="var(--muted)" stroke-dasharray="4 4"/>${points}${counts}
<line x1="${LEFT}" x2="${LEFT + SIZE}" y1="${base}" y2="${base}" stroke="var(--line)"/>
<text x="${LEFT + SIZE / 2}" y="${base + 36}" font-size="12" text-anchor="middle" class="quiet">score of the best candidate (below: how many texts)</text></svg>`;
}

/** Which scores right, wrong and out-of-scope texts have, above each other. */
export function scorePlot({ scores, out_of_scope }: Evaluation): string {
  const kinds: { key: keyof ScoreHistogram; colour: string; word: string }[] = [
    { key: 'right', colour: '--good', word: 'in scope, best candidate right' },
    { key: 'wrong', colour: '--bad', word: 'in scope, best candidate wrong' },
    ...(out_of_scope.texts > 0
      ? [{ key: 'out_of_scope' as const, colour: '--warn', word: 'out of scope' }]
      : []),
  ];
  const width = LEFT + SIZE + 90;
  const row = out_of_scope.texts > 0 ? 104 : 160;
  const plotWidth = SIZE + 70;
  const height = TOP + kinds.length * row + 30;
  const drawn = kinds.map(({ key, colour, word }, index) => {
    const counts = scores[key];
    const most = Math.max(1, ...counts);
    const all = counts.reduce((sum, count) => sum + count, 0);
    const base = TOP + (index + 1) * row - 14;
    const tall = row - 40;
    const step = plotWidth / counts.length;
    const bars = counts
      .map((count, bin) => {
        const high = (count / most) * tall;
        const title = `score ${(bin / counts.length).toFixed(2)} to ${((bin + 1) / counts.length).toFixed(2)}: ${count} texts`;
        return count === 0
          ? ''
          : `<rect x="${n(LEFT + bin * step + 1)}" y="${n(base - high)}" width="${n(step - 2)}" height="${n(high)}" fill="var(${colour})" fill-opacity="0.8"><title>${title}</title></rect>`;
      })
      .join('');
    return `<text x="${LEFT}" y="${base - tall - 8}" font-size="12">${word}: ${all}</text>${bars}<line x1="${LEFT}" x2="${LEFT + plotWidth}" y1="${base}" y2="${base}" stroke="var(--line)"/>`;
  });
  const base = TOP + kinds.length * row;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (value) =>
      `<text x="${n(LEFT + value * plotWidth)}" y="${base + 2}" font-size="11" text-anchor="middle" class="quiet">${value}</text>`,
  );
  return `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Scores">
${drawn.join('')}${ticks.join('')}<text x="${LEFT + plotWidth / 2}" y="${base + 22}" font-size="12" text-anchor="middle" class="quiet">score of the best candidate</text></svg>`;
}
