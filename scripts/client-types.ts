import type { Contract } from './pages.js';

/** A JSON schema, as far as the API uses it. */
interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
}

/** The bodies that the client sends and receives. */
const ROOTS = [
  'ClassifyRequest',
  'ClassifyBatchRequest',
  'Decision',
  'Decisions',
  'Problem',
  'Health',
  'RouteSet',
  'Route',
  'RouteSetInput',
  'RouteInput',
  'RouteChange',
  'RouteVersions',
  'RouteDocument',
  'LintReport',
  'DraftLintReport',
  'CacheStatus',
  'VerificationReport',
];

/** The text of `packages/client/src/contract.ts`: TypeScript types of the components of the API description. */
export function clientTypes(contract: Contract): string {
  const schemas = contract.components.schemas as Readonly<Record<string, Schema>>;
  const written = new Map<string, string>();
  const pending = [...ROOTS].reverse();
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (written.has(name) || name === 'JsonObject') continue;
    const schema = schemas[name];
    if (!schema) throw new Error(`the API description has no ${name}`);
    const body = typeOf(schema, '', (reference) => pending.push(reference));
    written.set(name, `${comment(schema.description, '')}export type ${name} = ${body};\n`);
  }
  return `// Generated from the API description by \`npm run openapi\`; a test compares.

/** Any JSON value. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

/** A JSON object with any keys. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

${[...written]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([, text]) => text)
  .join('\n')}`;
}

function typeOf(schema: Schema, indent: string, onReference: (name: string) => void): string {
  const { $ref, enum: values, const: value, type, items } = schema;
  const inner = (each: Schema): string => typeOf(each, indent, onReference);
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1) ?? '';
    onReference(name);
    return name;
  }
  if (value !== undefined) return literal(value);
  if (values) return values.map(literal).join(' | ');
  // Those of an object with fields say only which of these exclude one another.
  const choices = schema.properties ? undefined : (schema.anyOf ?? schema.oneOf);
  if (choices) return [...new Set(choices.map(inner))].join(' | ');
  if (schema.allOf) return schema.allOf.map(inner).join(' & ');
  if (Array.isArray(type)) return type.map((each: string) => inner({ ...schema, type: each })).join(' | ');
  if (type === 'array') {
    const item = items ? inner(items) : 'unknown';
    const several = items?.anyOf ?? items?.oneOf;
    return `readonly ${several || (/[|&{]/.test(item) && !item.startsWith('{')) ? `(${item})` : item}[]`;
  }
  if (type === 'object') return objectOf(schema, indent, onReference);
  if (type === 'integer') return 'number';
  return typeof type === 'string' ? type : 'unknown';
}

function objectOf(
  { properties = {}, required = [], additionalProperties }: Schema,
  indent: string,
  onReference: (name: string) => void,
): string {
  const deeper = `${indent}  `;
  const fields = Object.entries(properties).map(([name, schema]) => {
    const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
    const optional = required.includes(name) ? '' : '?';
    const type = typeOf(schema, deeper, onReference);
    return `${comment(schema.description, deeper)}${deeper}readonly ${key}${optional}: ${type};\n`;
  });
  if (fields.length > 0) return `{\n${fields.join('')}${indent}}`;
  const values = typeof additionalProperties === 'object' ? additionalProperties : {};
  return `{ readonly [key: string]: ${typeOf(values, deeper, onReference)} }`;
}

function literal(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}

function comment(text: string | undefined, indent: string): string {
  return text === undefined ? '' : `${indent}/** ${text.replaceAll('*/', '* /')} */\n`;
}
