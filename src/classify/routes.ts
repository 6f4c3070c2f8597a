import { AppError } from '../errors.js';
import type { RouteFinding } from './located.js';
import { parseLocatedJson } from './located-json.js';
import { parseLocatedYaml } from './located-yaml.js';
import { ROUTE_LIMITS } from './route-limits.js';
import { RouteReader } from './route-reader.js';
import { createRouteSet, type RouteSet, type RouteWarning } from './route-set.js';
import { SourceText } from './source-text.js';

/** A message lists at most this many faults; `issues` holds those. */
const MAX_FAULTS_SHOWN = 50;

/** Options of {@link parseRouteSet}. */
export interface ParseRouteSetOptions {
  /** How the text is called in messages: a file's base name, without its folder. */
  readonly origin: string;
  /** JSON is read strictly; YAML accepts JSON as well. Default: `json` where `origin` ends in `.json`. */
  readonly format?: 'yaml' | 'json';
}

/**
 * Parses and validates a route set in semantic-router's format: a mapping with `routes`, or the bare list,
 * in YAML or JSON. What else semantic-router writes into its files is accepted and ignored.
 *
 * Blocks the thread while it works: 10,000 utterances of YAML take 0.2 to 0.5 s, of JSON a tenth of that.
 * @throws AppError `routes_invalid`, every fault with its line (`routes.yaml:12:5: routes[3].utterances: …`)
 */
export function parseRouteSet(text: string, options: ParseRouteSetOptions): RouteSet {
  const { origin } = options;
  if (text.length > ROUTE_LIMITS.textChars) {
    throw new AppError('routes_invalid', `${origin}: longer than ${ROUTE_LIMITS.textChars} characters`);
  }
  const source = new SourceText(text.startsWith('\uFEFF') ? text.slice(1) : text);
  const format = options.format ?? (/\.json$/i.test(origin) ? 'json' : 'yaml');
  const parsed = format === 'json' ? parseLocatedJson(source.text) : parseLocatedYaml(source.text);
  if (!parsed.ok) {
    throw invalid(
      origin,
      source,
      parsed.faults.map((fault) => ({ ...fault, path: '' })),
    );
  }
  const reader = new RouteReader();
  const routes = reader.read(parsed.root);
  if (reader.faults.length > 0) throw invalid(origin, source, reader.faults);
  return createRouteSet(
    routes,
    reader.warnings.map((warning) => place(source, warning)),
  );
}

function place(source: SourceText, { offset, path, message }: RouteFinding): RouteWarning {
  return { path, message, ...source.positionOf(offset) };
}

function invalid(origin: string, source: SourceText, faults: readonly RouteFinding[]): AppError {
  const ordered = [...faults].sort((a, b) => a.offset - b.offset);
  const issues = ordered.slice(0, MAX_FAULTS_SHOWN).map((fault) => place(source, fault));
  const lines = issues.map(
    ({ line, column, path, message }) =>
      `${origin}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`,
  );
  const hidden = faults.length - issues.length;
  if (hidden > 0) lines.push(`… and ${hidden} more`);
  return new AppError('routes_invalid', lines.join('\n'), { issues });
}
