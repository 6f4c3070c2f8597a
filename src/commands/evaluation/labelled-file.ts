import { parse } from 'csv-parse/sync';
import { parseLocatedJson } from '../../routes/located.js';
import { closestNames } from '../../shared/closest.js';
import { AppError } from '../../shared/errors.js';

/** A text and the route that it should take. */
export interface Example {
  readonly text: string;
  /** As it stands in the file; `null` where there is none. */
  readonly label: string | null;
  /** From 1. */
  readonly line: number;
}

/** Columns that hold the text and the label, by the names that data sets give them; the first that is there counts. */
export const COLUMNS = {
  text: ['text', 'utterance', 'query', 'sentence', 'question', 'message', 'prompt', 'input'],
  label: ['label', 'category', 'route', 'intent', 'class', 'target', 'expected'],
} as const;

/** Options of {@link parseLabelled}. */
export interface LabelledOptions {
  /** How the file is called in messages; its ending tells the format. */
  readonly origin: string;
  readonly textColumn?: string;
  readonly labelColumn?: string;
}

const FORMATS =
  'eval reads CSV or TSV with a header, JSON lines, or a JSON array, with a text and a label in each row';

interface Row {
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * Reads labelled texts: `.jsonl`, `.ndjson` and `.json` with an object in each line or one array of objects, or else CSV as
 * RFC 4180 has it, with a header and `,`, `;` or tabs between the columns.
 * @throws AppError `config_invalid`, naming the line
 */
export function parseLabelled(text: string, options: LabelledOptions): Example[] {
  const { origin } = options;
  if (/\.ya?ml$/i.test(origin)) throw fault(origin, `is YAML; ${FORMATS}`);
  const rows = /\.(json|jsonl|ndjson)$/i.test(origin) ? jsonRows(text, origin) : csvRows(text, origin);
  const [first] = rows;
  if (!first) throw fault(origin, 'holds no texts');
  const names = Object.keys(first.fields);
  const textColumn = columnOf(options.textColumn, COLUMNS.text, names, 'text', origin);
  const labelColumn = columnOf(options.labelColumn, COLUMNS.label, names, 'label', origin);
  return rows.map(({ line, fields }): Example => {
    const value = fields[textColumn];
    if (typeof value !== 'string' || value.trim() === '') {
      throw fault(`${origin}:${line}`, `"${textColumn}" must be a text`);
    }
    const label = fields[labelColumn] ?? null;
    if (label !== null && typeof label !== 'string') {
      throw fault(`${origin}:${line}`, `"${labelColumn}" must be a route's name, or null`);
    }
    const trimmed = label?.trim() ?? '';
    return { text: value, label: trimmed === '' ? null : trimmed, line };
  });
}

function csvRows(text: string, origin: string): Row[] {
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(text, {
      bom: true,
      info: true,
      skip_empty_lines: true,
      delimiter: delimiterOf(text),
    }) as unknown as typeof records;
  } catch (cause) {
    const { lines, code } = cause as { lines?: number; code?: string };
    const reason = /COLUMNS|LENGTH/.test(code ?? '')
      ? 'has more or fewer fields than the header'
      : code === 'CSV_QUOTE_NOT_CLOSED'
        ? 'has a quote that is never closed'
        : /QUOTE/.test(code ?? '')
          ? 'has a quote in the middle of a field (double it, and put the field into quotes)'
          : 'is not CSV';
    throw new AppError('config_invalid', `${origin}:${lines ?? 1}: ${reason}; ${FORMATS}`, { cause });
  }
  const [header, ...rows] = records;
  const names = header?.record.map((name) => name.trim()) ?? [];
  return rows.map(({ record, info }) => ({
    line: info.lines,
    fields: Object.fromEntries(names.map((name, index) => [name, record[index]])),
  }));
}

/** The sign between columns: the one that the header has most of, outside of quotes. */
function delimiterOf(text: string): string {
  const [header = ''] = text
    .trimStart()
    .replace(/"[^"]*"/g, '')
    .split(/\r?\n|\r/, 1);
  const count = (sign: string): number => header.split(sign).length;
  return [',', ';', '\t'].reduce((best, sign) => (count(sign) > count(best) ? sign : best));
}

function jsonRows(text: string, origin: string): Row[] {
  const json = text.replace(/^\uFEFF/, '');
  return json.trimStart().startsWith('[') ? arrayRows(json, origin) : lineRows(json, origin);
}

function arrayRows(json: string, origin: string): Row[] {
  const located = parseLocatedJson(json);
  if (!located.ok) {
    const [{ offset, message } = { offset: 0, message: 'not JSON' }] = located.faults;
    throw fault(`${origin}:${lineAt(json, offset)}`, message);
  }
  const values = JSON.parse(json) as readonly unknown[];
  const items = located.root.kind === 'list' ? located.root.items : [];
  return items.map(({ offset }, index) => rowOf(values[index], lineAt(json, offset), origin));
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

function rowOf(value: unknown, line: number, origin: string): Row {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fault(`${origin}:${line}`, 'must be an object');
  }
  return { line, fields: { ...value } };
}

function lineRows(json: string, origin: string): Row[] {
  const lines = json.split('\n');
  return lines.flatMap((content, index): Row[] => {
    if (content.trim() === '') return [];
    const line = index + 1;
    let value: unknown;
    try {
      value = JSON.parse(content);
    } catch (cause) {
      throw new AppError('config_invalid', `${origin}:${line}: this line is not JSON; ${FORMATS}`, { cause });
    }
    return [rowOf(value, line, origin)];
  });
}

function columnOf(
  given: string | undefined,
  known: readonly string[],
  names: readonly string[],
  what: 'text' | 'label',
  origin: string,
): string {
  const there = names.map((name) => `"${name}"`).join(', ');
  if (given !== undefined) {
    if (names.includes(given)) return given;
    throw fault(origin, `has no column "${given}"; there are ${there}`);
  }
  for (const candidate of known) {
    const found = names.find((name) => name.toLowerCase() === candidate);
    if (found !== undefined) return found;
  }
  throw fault(origin, `which column is the ${what}? There are ${there}; name it with --${what}-column`);
}

function fault(where: string, message: string): AppError {
  return new AppError('config_invalid', `${where}: ${message}`);
}

/** Words that data sets use for "none of these". A route of that name comes first. */
const OUT_OF_SCOPE = new Set(['none', 'null', 'oos', 'ood', 'out_of_scope', 'out-of-scope', 'out of scope']);

/** Treatments of labels that no route has. */
export const UNKNOWN_LABELS = ['error', 'oos', 'skip'] as const;

/** See {@link UNKNOWN_LABELS}. */
export type UnknownLabels = (typeof UNKNOWN_LABELS)[number];

/** A text and where it belongs: a route's name, or `null` when to none. */
export interface Case {
  readonly text: string;
  readonly expected: string | null;
  readonly line: number;
}

/**
 * Matches labels with the names of routes.
 * @throws AppError `config_invalid`, naming the labels that no route has, unless they are allowed
 */
export function resolveLabels(
  examples: readonly Example[],
  names: ReadonlySet<string>,
  unknown: UnknownLabels,
  measured?: string,
): { readonly cases: readonly Case[]; readonly skipped: number } {
  const strangers = new Map<string, number>();
  const cases = examples.flatMap(({ text, label, line }): Case[] => {
    if (label === null) return [{ text, expected: null, line }];
    if (names.has(label)) return [{ text, expected: label, line }];
    if (OUT_OF_SCOPE.has(label.toLowerCase())) return [{ text, expected: null, line }];
    strangers.set(label, (strangers.get(label) ?? 0) + 1);
    return unknown === 'oos' ? [{ text, expected: null, line }] : [];
  });
  if (strangers.size > 0 && unknown === 'error') {
    const listed = [...strangers].slice(0, 10).map(([label, count]) => {
      const [near] = closestNames(label.slice(0, 128), names, 1);
      return `"${label}" (${count}×${near === undefined ? '' : `; is it "${near}"?`})`;
    });
    const more = strangers.size > listed.length ? ` and ${strangers.size - listed.length} more` : '';
    throw new AppError(
      'config_invalid',
      `no route has these labels: ${listed.join(', ')}${more}${measured === undefined ? '' : ` (${measured})`}; --unknown-labels oos counts their texts as out of scope, skip leaves them out`,
    );
  }
  return { cases, skipped: examples.length - cases.length };
}
