import { basename } from 'node:path';
import { type Flip, type SetComparison, verdict } from './comparison.js';
import type { Evaluation } from './evaluation.js';
import { figuresOf, percent } from './text-report.js';

/** Rows of each table; the JSON report has all. */
const ROWS = 100;

const STYLE = `:root { color-scheme: light dark; --line: #8884; --muted: #778; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0; } .muted, small, th, summary, em { color: var(--muted); } code { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.num, th.num { text-align: right; white-space: nowrap; } meter { width: 6rem; margin-right: .5rem; }`;

/** Facts about a report besides its figures. */
export interface ReportFacts {
  readonly file: string;
  readonly at: Date;
  readonly version: string;
}

/** A cell: text, which is escaped, or markup of this module. */
type Cell = string | number | Markup;

/** Markup that is safe by construction. */
class Markup {
  readonly html: string;
  constructor(html: string) {
    this.html = html;
  }
}

/**
 * A report as one HTML file without outside resources and scripts. Texts and names of routes are escaped.
 * @param comparison with an earlier set, if there is one
 */
export function htmlReport(
  evaluation: Evaluation,
  comparison: SetComparison | undefined,
  { file, at, version }: ReportFacts,
): string {
  const { model, routes_digest: routes } = evaluation;
  const title = `${shortName(evaluation.name)} on ${file}`;
  const which = model ? `${model.id} (${model.variant}) ` : '';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p class="muted">${evaluation.texts} texts, ${evaluation.routes} routes; ${escapeHtml(which)}by ai-router ${escapeHtml(version)}, ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC<br>
<code>model ${escapeHtml(model?.digest ?? '–')}<br>routes ${escapeHtml(routes ?? '–')}</code></p>
${part('Figures', '', table(['figure', 'value', 'meaning'], figuresOf(evaluation), [1]))}
${comparison ? comparisonPart(comparison) : ''}
${calibrationPart(evaluation)}
${confusionPart(evaluation)}
${routePart(evaluation)}
</body></html>
`;
}

function calibrationPart({ calibration }: Evaluation): string {
  const rows = calibration.bins
    .filter(({ texts }) => texts > 0)
    .map(({ from, to, texts, confidence, accuracy }) => [
      `${from.toFixed(1)} to ${to.toFixed(1)}`,
      texts,
      percent(confidence),
      meter(accuracy),
    ]);
  const note = 'If scores are probabilities, both columns agree. Bins of few texts vary by chance.';
  return part('Calibration', note, table(['score', 'texts', 'mean score', 'right'], rows, [1, 2]));
}

function confusionPart({ confusions }: Evaluation): string {
  const rows = confusions.slice(0, ROWS).map(({ expected, got, count, examples }) => {
    const [first = '', ...others] = examples.map(
      ({ text, line, score }) => `${escapeHtml(text)} <small>line ${line}, score ${score.toFixed(2)}</small>`,
    );
    const more = others.map((example) => `<br>${example}`).join('');
    const details = more && `<details><summary>${others.length} more</summary>${more.slice(4)}</details>`;
    return [name(expected, 'out of scope'), name(got, 'no route'), count, new Markup(first + details)];
  });
  const hidden = confusions.length - rows.length;
  const note =
    confusions.length === 0
      ? 'Every decision was right.'
      : hidden > 0
        ? `${hidden} more pairs are in the JSON report.`
        : '';
  return part('Confusions', note, table(['expected', 'decided', 'texts', 'examples'], rows, [2]));
}

function routePart({ by_route }: Evaluation): string {
  const rows = [...by_route]
    .sort((a, b) => (a.f1 ?? 2) - (b.f1 ?? 2))
    .map(({ route, texts, predicted, abstained, precision, recall, f1 }) => [
      route,
      texts,
      predicted,
      abstained,
      meter(precision),
      meter(recall),
      meter(f1),
    ]);
  const head = ['route', 'texts', 'decided', 'abstained', 'precision', 'recall', 'F1'];
  return part('Routes', 'The weakest first.', table(head, rows, [1, 2, 3]));
}

function comparisonPart(comparison: SetComparison): string {
  const { before, after, fixed, broken, both_right, both_wrong, p_value } = comparison;
  const routes = comparison.by_route
    .slice(0, ROWS)
    .map((each) => [name(each.route, 'out of scope'), each.texts, each.before, each.after]);
  const note = `From ${shortName(before)} to ${shortName(after)}: ${percent(comparison.accuracy_before)} → ${percent(comparison.accuracy_after)} right decisions; ${fixed} fixed, ${broken} broken, ${both_right} right with both, ${both_wrong} wrong with both. ${verdict(p_value, fixed, broken)}`;
  return part(
    'What changed',
    note,
    table(['route', 'texts', 'right before', 'right after'], routes, [1, 2, 3]) +
      flips('Fixed', comparison.fixed_texts, fixed) +
      flips('Broken', comparison.broken_texts, broken) +
      flips('Wrong with both', comparison.both_wrong_texts, both_wrong),
  );
}

function flips(title: string, list: readonly Flip[], all: number): string {
  const rows = list
    .slice(0, ROWS)
    .map(({ text, line, expected, before, after }) => [
      new Markup(`${escapeHtml(text)} <small>line ${line}</small>`),
      name(expected, 'out of scope'),
      name(before, 'no route'),
      name(after, 'no route'),
    ]);
  const open = title === 'Broken' ? ' open' : '';
  const body = table(['text', 'expected', 'before', 'after'], rows);
  return rows.length === 0 ? '' : `<details${open}><summary>${title}: ${all}</summary>${body}</details>`;
}

function part(title: string, note: string, body: string): string {
  return `<h2>${title}</h2>${note && `<p class="muted">${escapeHtml(note)}</p>`}${body}`;
}

function table(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  numeric: readonly number[] = [],
): string {
  if (rows.length === 0) return '';
  const row = (cells: readonly Cell[], tag: 'td' | 'th'): string =>
    `<tr>${cells.map((cell, index) => `<${tag}${numeric.includes(index) ? ' class="num"' : ''}>${cell instanceof Markup ? cell.html : escapeHtml(String(cell))}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table>${row(head, 'th')}${rows.map((cells) => row(cells, 'td')).join('\n')}</table></div>`;
}

function meter(share: number | null): Cell {
  if (share === null) return '–';
  return new Markup(
    `<meter min="0" max="1" low="0.7" high="0.7" optimum="1" value="${share}"></meter>${percent(share, 0)}`,
  );
}

function name(route: string | null, none: string): Cell {
  return route ?? new Markup(`<em>${none}</em>`);
}

/** A file without its folder: a report is passed on, and paths of this machine are private. */
function shortName(path: string): string {
  return /^https?:/.test(path) ? path : basename(path);
}

function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
}
