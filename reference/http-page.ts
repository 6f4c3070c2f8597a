import { PROBLEMS } from '../src/http/problem.js';
import { cell, fieldRows, nameOf, type Schema, typeText } from './schema-text.js';

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

/** The contract as far as the page reads it. */
export interface Contract {
  readonly info: { readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
}

/** The text of `docs/http.md`. */
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

**Keys.** Where \`API_KEYS\` is set, every path but health, page and contract wants one of them, or one of
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
      ? 'Wants a key where `API_KEYS` is set.'
      : security.length === 0
        ? 'Open.'
        : 'Wants one of `ADMIN_KEYS`.';
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

/** The first example of request and answer; the contract has more. */
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
