import { table } from '../format.js';
import { type SetComparison, verdict } from './comparison.js';
import type { Evaluation } from './evaluation.js';

/** Rows of each table; the JSON report has all. */
const SHOWN = 12;
const FLIPS_SHOWN = 8;

/** Below this many texts a figure has no decimals, and a word of warning. */
const FEW = 100;

/** The figures of an evaluation: name, value and meaning of each. */
export function figuresOf(evaluation: Evaluation): [name: string, value: string, meaning: string][] {
  const { in_scope, out_of_scope, calibration, latency, texts } = evaluation;
  const share = (value: number | null): string => percent(value, texts < FEW ? 0 : 1);
  const figure = (value: number | null): string => value?.toFixed(texts < FEW ? 1 : 3) ?? '–';
  const outside: ReturnType<typeof figuresOf> = [
    ['out of scope', share(out_of_scope.rejected), `of ${out_of_scope.texts} have no route`],
    ['rightly none', share(out_of_scope.precision), 'of all texts without a route are out of scope'],
    ['AUROC', figure(out_of_scope.auroc), 'in scope against out of scope, by score'],
  ];
  const p95 = latency.p95_ms.toFixed(1);
  return [
    ['right decisions', share(evaluation.accuracy), 'of all texts, abstentions included'],
    [
      'best candidate right',
      share(in_scope.top1_accuracy),
      `of ${in_scope.texts} in scope, without thresholds`,
    ],
    ['coverage', share(in_scope.coverage), `of ${in_scope.texts} in scope have a route`],
    ['right where decided', share(in_scope.answered_accuracy), 'of the texts with a route'],
    ['macro F1', figure(evaluation.macro_f1), 'mean of the routes that have texts'],
    ...(out_of_scope.texts > 0 ? outside : []),
    ['calibration error', figure(calibration.ece), 'expected, 10 bins, in scope only'],
    [
      'latency',
      `${latency.p50_ms.toFixed(1)} ms`,
      `median, 95 % within ${p95} ms: ${latency.measures}; ${Math.round(latency.texts_per_second)} texts/s`,
    ],
  ];
}

/** An evaluation as people read it in a terminal. */
export function evaluationLines(evaluation: Evaluation): string[] {
  const { by_route, confusions } = evaluation;
  const isFew = evaluation.texts < FEW;
  const share = (value: number | null): string => percent(value, isFew ? 0 : 1);
  const weak = by_route
    .filter(({ texts, f1 }) => texts > 0 && f1 !== 1)
    .sort((a, b) => (a.f1 ?? 0) - (b.f1 ?? 0))
    .slice(0, SHOWN);
  return [
    `${evaluation.name}: ${evaluation.texts} texts, ${evaluation.routes} routes`,
    ...table(figuresOf(evaluation).map(([name, ...others]) => [`  ${name}`, ...others])),
    ...(isFew
      ? [
          `  few texts: with ${evaluation.texts}, chance alone moves a share by up to ${Math.round(98 / Math.sqrt(evaluation.texts))} points`,
        ]
      : []),
    ...(confusions.length > 0
      ? [
          '',
          ...table([
            ['  expected', 'decided', 'texts', 'example'],
            ...confusions
              .slice(0, SHOWN)
              .map(({ expected, got, count, examples }) => [
                `  ${expected ?? '(out of scope)'}`,
                got ?? '(no route)',
                String(count),
                clip(examples[0]?.text ?? ''),
              ]),
          ]),
        ]
      : []),
    ...(weak.length > 0
      ? [
          '',
          ...table([
            ['  weakest routes', 'texts', 'precision', 'recall', 'F1'],
            ...weak.map(({ route, texts, precision, recall, f1 }) => [
              `  ${route}`,
              String(texts),
              share(precision),
              share(recall),
              f1?.toFixed(2) ?? '–',
            ]),
          ]),
        ]
      : []),
  ];
}

/** A comparison as people read it in a terminal. */
export function comparisonLines(comparison: SetComparison): string[] {
  const { before, after, fixed, broken, both_right, both_wrong, p_value } = comparison;
  const flips = (title: string, list: SetComparison['fixed_texts'], all: number): string[] =>
    list.length === 0
      ? []
      : [
          `${title}: ${all}`,
          ...table(
            list
              .slice(0, FLIPS_SHOWN)
              .map((flip) => [
                `  ${clip(flip.text)}`,
                `${flip.before ?? '(no route)'} → ${flip.after ?? '(no route)'}`,
                `expected ${flip.expected ?? '(out of scope)'}`,
              ]),
          ),
        ];
  return [
    '',
    `from ${before} to ${after}: ${percent(comparison.accuracy_before)} → ${percent(comparison.accuracy_after)} right: ` +
      `${fixed} fixed, ${broken} broken, ${both_right} right with both, ${both_wrong} wrong with both`,
    verdict(p_value, fixed, broken),
    ...flips('fixed', comparison.fixed_texts, fixed),
    ...flips('broken', comparison.broken_texts, broken),
  ];
}

/** A share of 1 in percent. */
export function percent(share: number | null, digits = 1): string {
  return share === null ? '–' : `${(share * 100).toFixed(digits)} %`;
}

function clip(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= 60 ? line : `${line.slice(0, 59)}…`;
}
