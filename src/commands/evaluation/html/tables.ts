import type { Flip, SetComparison } from '../comparison.js';
import type { Evaluation } from '../evaluation.js';
import { escapeHtml, percent, routeName, shortName } from './markup.js';

/** Rows that are shown; the JSON report has all. */
const CONFUSIONS = 40;
const FLIPS = 100;

/** Below this, a share is drawn in the colour of trouble. */
const LOW = 0.7;

/** The most frequent confusions, each with examples. */
export function confusionTable({ confusions }: Evaluation): string {
  const rows = confusions.slice(0, CONFUSIONS).map(({ expected, got, count, examples }) => {
    const [first = '', ...others] = examples.map(
      ({ text, line, score }) => `${escapeHtml(text)} <small>line ${line}, score ${score.toFixed(2)}</small>`,
    );
    const further = others.map((example) => `<li>${example}</li>`).join('');
    const shown = examples.length < count ? `${others.length} of ${count - 1} more` : `${others.length} more`;
    const more = further && `<details><summary>${shown}</summary><ul>${further}</ul></details>`;
    return `<tr><td>${routeName(expected, 'out of scope')}</td><td>${routeName(got, 'nowhere')}</td><td class="num">${count}</td><td>${first}${more}</td></tr>`;
  });
  const hidden = confusions.length - rows.length;
  return `<table><thead><tr><th>belongs to</th><th>was sent to</th><th class="num">texts</th><th>for example</th></tr></thead><tbody>${rows.join('')}</tbody></table>${hidden > 0 ? `<p class="muted">… and ${hidden} more pairs, in the JSON report.</p>` : ''}`;
}

/** Every route with precision and recall, those that need care first. */
export function routeTable({ by_route }: Evaluation): string {
  const rows = [...by_route]
    .sort((a, b) => (a.f1 ?? 2) - (b.f1 ?? 2))
    .map(
      ({ route, texts, predicted, abstained, precision, recall, f1 }) =>
        `<tr><td>${escapeHtml(route)}</td><td class="num">${texts}</td><td class="num">${predicted}</td><td class="num">${abstained}</td><td>${bar(precision)}</td><td>${bar(recall)}</td><td>${bar(f1)}</td></tr>`,
    );
  return `<div class="scroll"><table><thead><tr><th>route</th><th class="num">texts</th><th class="num">sent here</th><th class="num">abstained</th><th>precision</th><th>recall</th><th>F1</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function bar(share: number | null): string {
  if (share === null) return '–';
  const low = share < LOW ? ' class="low"' : '';
  return `<span class="bar"><i${low} style="width:${Math.round(share * 100)}%"></i></span>${percent(share, 0)}`;
}

/** What changed from one set to another. */
export function comparisonPart(comparison: SetComparison): string {
  const { before, after, fixed, broken, both_right, both_wrong, p_value, by_route } = comparison;
  const routes = by_route
    .slice(0, FLIPS)
    .map(
      ({ route, texts, before: then, after: now }) =>
        `<tr><td>${routeName(route, 'out of scope')}</td><td class="num">${texts}</td><td class="num">${then}</td><td class="num">${now}</td><td class="num ${now > then ? 'up' : 'down'}">${now > then ? '+' : '−'}${Math.abs(now - then)}</td></tr>`,
    );
  return `<section><h2>What changed</h2><p class="muted">from <code>${escapeHtml(shortName(before))}</code> to <code>${escapeHtml(shortName(after))}</code>, on the same texts</p>
<p><b>${percent(comparison.accuracy_before)}</b> → <b>${percent(comparison.accuracy_after)}</b> right decisions: <span class="up">${fixed} fixed</span>, <span class="down">${broken} broken</span>, ${both_right} right with both, ${both_wrong} wrong with both. ${verdict(p_value, fixed, broken)}</p>
${routes.length > 0 ? `<table><thead><tr><th>route</th><th class="num">texts</th><th class="num">right before</th><th class="num">right after</th><th class="num"></th></tr></thead><tbody>${routes.join('')}</tbody></table>` : ''}
${flips('Fixed', comparison.fixed_texts, fixed)}${flips('Broken', comparison.broken_texts, broken)}${flips('Wrong with both', comparison.both_wrong_texts, both_wrong)}</section>`;
}

/** The p-value in words. */
export function verdict(p: number, fixed: number, broken: number): string {
  if (fixed === broken) return 'Neither is better on these texts.';
  const chance = p < 0.001 ? 'less than 0.1 %' : percent(p);
  return `If both were equally good, flips this uneven would come up with a chance of ${chance}.`;
}

function flips(title: string, list: readonly Flip[], all: number): string {
  if (list.length === 0) return '';
  const rows = list
    .slice(0, FLIPS)
    .map(
      ({ text, line, expected, before, after }) =>
        `<tr><td>${escapeHtml(text)} <small>line ${line}</small></td><td>${routeName(expected, 'out of scope')}</td><td>${routeName(before, 'nowhere')}</td><td>${routeName(after, 'nowhere')}</td></tr>`,
    );
  const shown = all > rows.length ? `${rows.length} of ${all}` : String(all);
  return `<details${title === 'Broken' ? ' open' : ''}><summary>${title}: ${shown}</summary><table><thead><tr><th>text</th><th>belongs to</th><th>before</th><th>after</th></tr></thead><tbody>${rows.join('')}</tbody></table></details>`;
}
