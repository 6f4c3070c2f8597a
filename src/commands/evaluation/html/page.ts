import type { SetComparison } from '../comparison.js';
import type { Evaluation } from '../evaluation.js';
import { confusionPicture } from './confusion-picture.js';
import { escapeHtml, percent, shortName } from './markup.js';
import { reliabilityPlot, scorePlot } from './plots.js';
import { STYLE } from './style.js';
import { comparisonPart, confusionTable, routeTable } from './tables.js';

/** What a page is about. */
export interface PageFacts {
  /** The labelled file. */
  readonly file: string;
  readonly at: Date;
  readonly version: string;
}

/**
 * A report as one HTML file that needs nothing else: styles and pictures are in it, and it asks no network. What comes
 * from outside (texts, names of routes) is escaped, and no script could run in it anyway.
 */
export function htmlPage(
  evaluation: Evaluation,
  comparison: SetComparison | undefined,
  facts: PageFacts,
): string {
  const { model, routes_digest } = evaluation;
  const which = model ? `${escapeHtml(model.id)} (${escapeHtml(model.variant)}) ` : '';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(shortName(evaluation.name))} on ${escapeHtml(facts.file)}</title><style>${STYLE}</style></head><body><main>
<h1>${escapeHtml(shortName(evaluation.name))} <span class="muted">on</span> ${escapeHtml(facts.file)}</h1>
<p class="muted">${evaluation.texts} texts, ${evaluation.routes} routes; ${which}by ai-router ${escapeHtml(facts.version)}, ${facts.at.toISOString().slice(0, 16).replace('T', ' ')} UTC<br>
<code>model ${escapeHtml(model?.digest ?? '–')}<br>routes ${escapeHtml(routes_digest ?? '–')}</code></p>
${tiles(evaluation)}
${comparison ? comparisonPart(comparison) : ''}
<section><h2>Where texts go</h2><p class="muted">Routes that are confused with each other stand beside each other.</p>${confusionPicture(evaluation)}</section>
<div class="pair"><section><h2>Are scores probabilities?</h2><p class="muted">On the dashed line, a score of 0.8 is right in 80 % of cases. Expected calibration error: ${evaluation.calibration.ece.toFixed(3)}.</p>${reliabilityPlot(evaluation)}</section>
<section><h2>What scores tell</h2><p class="muted">The less the histograms lie above each other, the better a threshold works.</p>${scorePlot(evaluation)}</section></div>
<section><h2>Worst confusions</h2>${evaluation.confusions.length === 0 ? '<p>None: every decision was right.</p>' : confusionTable(evaluation)}</section>
<section><h2>Routes</h2><p class="muted">The weakest first.</p>${routeTable(evaluation)}</section>
</main></body></html>
`;
}

function tiles({ accuracy, in_scope, out_of_scope, macro_f1, calibration, latency }: Evaluation): string {
  const numbers: [value: string, words: string][] = [
    [percent(accuracy), 'right decisions, abstaining included'],
    [percent(in_scope.top1_accuracy), 'best candidate right, whatever the threshold'],
    [percent(in_scope.coverage), 'of texts in scope were sent somewhere'],
    [percent(in_scope.answered_accuracy), 'of those were sent where they belong'],
    [macro_f1 === null ? '–' : macro_f1.toFixed(3), 'macro F1'],
    [calibration.ece.toFixed(3), 'expected calibration error'],
    [`${latency.p50_ms.toFixed(1)} ms`, `median time of a text, 95 % within ${latency.p95_ms.toFixed(0)} ms`],
  ];
  if (out_of_scope.texts > 0) {
    numbers.splice(
      5,
      0,
      [percent(out_of_scope.rejected), `of ${out_of_scope.texts} out-of-scope texts were sent nowhere`],
      [out_of_scope.auroc?.toFixed(3) ?? '–', 'AUROC: in scope against out of scope'],
    );
  }
  const columns = numbers.length > 7 ? Math.ceil(numbers.length / 2) : numbers.length;
  const drawn = numbers.map(
    ([value, words]) => `<div class="tile"><b>${value}</b><span>${words}</span></div>`,
  );
  return `<div class="tiles" style="--columns:${columns}">${drawn.join('')}</div>`;
}
