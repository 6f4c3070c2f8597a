import { defaultTextOf } from '../src/config/config.js';
import { SETTINGS, type Setting } from '../src/config/settings.js';
import { PROBLEMS } from '../src/http/errors.js';

interface Media {
  readonly schema: Schema;
  readonly examples?: Readonly<Record<string, { readonly summary?: string; readonly value: unknown }>>;
}

interface Answer {
  readonly $ref?: string;
  readonly description: string;
  readonly content?: Readonly<Record<string, Media>>;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema: Schema;
  readonly description?: string;
}

interface Operation {
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly security?: readonly unknown[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, Answer>>;
}

/** The fields of an OpenAPI document that the page shows. */
export interface Contract {
  readonly info: { readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
}

/** Returns the text of `docs/http.md`. */
export function httpPage(contract: Contract): string {
  const { info, tags, components } = contract;
  const operations = Object.entries(contract.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const sections = tags.map(({ name, description }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    const texts = own.map(({ path, method, operation }) =>
      operationText(`${method.toUpperCase()} ${path}`, operation, contract),
    );
    return `## ${name}\n\n${description}\n\n${texts.join('\n')}`;
  });
  const schemas = Object.entries(components.schemas)
    .filter(([name, schema]) => schema.properties || name === 'Digest' || schema.enum)
    .map(([name, schema]) => schemaText(name, schema));
  return `# HTTP reference

JSON in and out, in UTF-8. A running daemon serves this contract as \`/openapi.json\` (OpenAPI 3.1), and shows it at
\`/docs\`. The same is in [\`openapi.json\`](../openapi.json), from which clients can be generated; one for TypeScript
comes along: [client.md](client.md).

${info.description}

Every answer carries \`X-Request-Id\` (the request's own, or a new one) and \`Server-Timing\`.

**Keys.** Where \`API_KEYS\` is set, every path but health, page and contract requires one of them, or one of
\`ADMIN_KEYS\`, as \`Authorization: Bearer …\`; so do \`/metrics\` and \`/cache/status\`, which tell what a service is asked
and where it runs. Prometheus sends a key with \`authorization: { credentials: … }\`. Several keys at once make rotation
possible: add the new one, let callers move, remove the old one. A setting may hold \`sha256:<hex>\` in place of a key:
\`printf %s "$KEY" | sha256sum\`. Admin paths want one of \`ADMIN_KEYS\` always, and answer 403 where there are none.

**Rates.** With \`RATE_LIMIT\`, requests are counted by key, or by address without one (an IPv6 network of 64 bits is one
address); health, page and contract are not counted. Answers carry \`RateLimit-Policy\` and \`RateLimit\`
(draft-ietf-httpapi-ratelimit-headers). Behind a proxy, set \`TRUST_PROXY\`, or all of its clients share one count. Counts
are kept in memory, by each instance for itself.

${sections.join('\n')}
## Errors

\`application/problem+json\` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), with a \`code\` for programs:

| status | code | title |
|---|---|---|
${problemRows().join('\n')}

## Schemas

A \`?\` marks what may be missing.

${schemas.join('\n')}
<!-- Made of the contract by \`npm run openapi\`; a test compares. -->
`;
}

function operationText(heading: string, operation: Operation, { components }: Contract): string {
  const { summary, description, security, parameters = [], requestBody, responses } = operation;
  const access =
    security === undefined
      ? 'Requires a key where `API_KEYS` is set.'
      : security.length === 0
        ? 'Open.'
        : 'Requires one of `ADMIN_KEYS`.';
  const params = parameters.map(
    ({ name, in: place, required, schema, description: text = schema.description ?? '' }) =>
      `| \`${name}\`${required ? '' : '?'} | ${place} | ${cell(text)} |`,
  );
  const table = params.length > 0 ? `\n| parameter | in | |\n|---|---|---|\n${params.join('\n')}\n` : '';
  const bodies = Object.entries(requestBody?.content ?? {});
  const [first] = bodies;
  const body = first
    ? `\nBody: ${typeText(first[1].schema)}, as ${bodies.map(([type]) => `\`${type}\``).join(' or ')}.\n`
    : '';
  const answers = Object.entries(responses).map(([status, answer]) => {
    const known = answer.$ref ? components.responses[nameOf(answer) ?? ''] : answer;
    const media = Object.values(known?.content ?? {})[0];
    const type = media && Number(status) < 400 ? `: ${typeText(media.schema)}` : '';
    return `- \`${status}\` ${known?.description ?? ''}${type}`;
  });
  return `### ${heading}

${summary}. ${description ? `${description} ` : ''}${access}
${table}${body}
${answers.join('\n')}
${exampleText(operation)}`.replace('?. ', '? ');
}

/** First example of request and answer. */
function exampleText({ requestBody, responses }: Operation): string {
  const asked = Object.entries(requestBody?.content['application/json']?.examples ?? {})[0];
  if (!asked) return '';
  const [name, { value }] = asked;
  const answered = responses['200']?.content?.['application/json']?.examples?.[name];
  const blocks = [value, ...(answered ? [answered.value] : [])];
  return `\n${blocks.map((each) => `\`\`\`json\n${JSON.stringify(each, null, 2)}\n\`\`\``).join('\n\n')}\n`;
}

function schemaText(name: string, schema: Schema): string {
  const intro = schema.description ? `${schema.description}.\n` : '';
  if (schema.properties) {
    return `### ${name}\n\n${intro}\n| field | type | |\n|---|---|---|\n${fieldRows(schema).join('\n')}\n`.replace(
      '\n\n\n',
      '\n\n',
    );
  }
  return `### ${name}\n\n${intro}${schema.enum ? `\n${typeText(schema)}\n` : ''}`;
}

function problemRows(): string[] {
  return Object.entries(PROBLEMS)
    .map(([code, [status, title]]) => ({ code, status, title }))
    .sort((a, b) => a.status - b.status)
    .map(({ code, status, title }) => `| ${status} | \`${code}\` | ${title} |`);
}

/** Returns one table row per setting, in the order of `--help`. */
export function settingRows(): string[] {
  const settings: Setting<unknown>[] = Object.values(SETTINGS);
  return settings.map((setting) => `| \`${setting.env}\` | ${defaultTextOf(setting)} | ${setting.help} |`);
}

/** Returns the text of `docs/settings.md`. */
export function settingsPage(): string {
  return `# Settings

Environment variables. All of them are checked before anything listens: a wrong one ends the start with exit status 2
and a message that names every fault at once, and no secret. An empty variable counts as unset. Times are in
milliseconds where the name ends in \`_MS\`. \`node dist/main.js --help\` prints the same.

| variable | default | meaning |
|---|---|---|
${settingRows().join('\n')}

<!-- Generated from src/config/settings.ts by \`npm run openapi\`; a test compares. -->
`;
}

/** A JSON schema as far as the contract uses it. */
interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly format?: string;
  readonly default?: unknown;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Name of the schema that a reference points at; it has its own section. */
function nameOf({ $ref }: Schema): string | undefined {
  return $ref?.split('/').at(-1);
}

/** Type of a schema, as Markdown. */
function typeText(schema: Schema): string {
  const name = nameOf(schema);
  if (name !== undefined) return `[${name}](#${name.toLowerCase()})`;
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants) return [...new Set(variants.map(typeText))].join(' or ');
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  if (schema.type === 'object' && schema.properties) {
    const fields = Object.entries(schema.properties);
    return `{ ${fields.map(([key, field]) => `\`${key}\`: ${typeText(field)}`).join(', ')} }`;
  }
  return schema.format ?? schema.type ?? 'anything';
}

/** Bounds and default of a schema. */
function boundsText(schema: Schema): string {
  const { minLength, maxLength, minItems, maxItems, minimum, maximum } = schema;
  const own = [
    range(minimum, maximum, ''),
    range(minLength, maxLength, ' characters'),
    range(minItems, maxItems, ' items'),
    ...(schema.default === undefined ? [] : [`default ${code(schema.default)}`]),
  ];
  const items = schema.items ? boundsText(schema.items) : '';
  return [...own, ...(items === '' ? [] : [`each ${items}`])].filter((text) => text !== '').join('; ');
}

function range(min: number | undefined, max: number | undefined, unit: string): string {
  // The limits of exact integers are not limits of the API.
  const highest = max === Number.MAX_SAFE_INTEGER ? undefined : max;
  const lowest = min === Number.MIN_SAFE_INTEGER || (min === 0 && highest === undefined) ? undefined : min;
  if (lowest !== undefined && highest !== undefined) return `${lowest} to ${highest}${unit}`;
  if (highest !== undefined) return `at most ${highest}${unit}`;
  return lowest === undefined ? '' : `at least ${lowest}${unit}`;
}

/** One row per field. */
function fieldRows(schema: Schema): string[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).map(([key, field]) => {
    const notes = [field.description ?? '', boundsText(field)].filter((text) => text !== '').join('; ');
    return `| \`${key}\`${required.has(key) ? '' : '?'} | ${typeText(field)} | ${cell(notes)} |`;
  });
}

/** Escapes text for a table cell. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}
