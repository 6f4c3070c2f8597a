import { readFileSync } from 'node:fs';
import { parseRouteSet } from '../../src/routes/parse.js';
import { JSON_TYPE, requestBytes } from '../support/wire.js';

/** One input of the fuzzer: bytes for the wire, and which answers to them are right. */
export interface Input {
  /** Description of the fault, for people. */
  readonly what: string;
  readonly bytes: Buffer;
  readonly statuses: readonly number[];
  /** The bytes do not (or may not) end a request: the client closes its direction after them. */
  readonly unfinished?: true;
  /** More than one answer may come: the connection is not used again. */
  readonly alone?: true;
  /** The server may close without an answer. */
  readonly mayBeSilent?: true;
  readonly head?: true;
}

type Header = readonly [name: string, value: string];

/** The key of the fuzzed daemon's administrator; it must be in no answer. */
export const ADMIN_KEY = 'resilience-fuzz-admin-key-0123456789';
export const AUTHORIZED: Header = ['Authorization', `Bearer ${ADMIN_KEY}`];
const defaultSet = parseRouteSet(readFileSync('routes/default.yaml', 'utf8'), { origin: 'default.yaml' });
/** The routes that the fuzzed daemon serves, so that a change of them gets as far as its body. */
export const CURRENT_SET: Header = ['If-Match', `"${defaultSet.digest}"`];

/** Makes an input that is well-formed HTTP. */
export function request(
  what: string,
  method: string,
  path: string,
  {
    headers = [],
    body,
    statuses,
  }: { headers?: readonly Header[]; body?: Uint8Array | string; statuses: readonly number[] },
): Input {
  const head = method === 'HEAD' && { head: true as const };
  return {
    what: `${what}: ${method} ${path.slice(0, 80)}`,
    bytes: requestBytes(method, path, headers, body),
    statuses,
    ...head,
  };
}

/** Makes an input that posts JSON. */
export function post(what: string, path: string, json: unknown, statuses: readonly number[]): Input {
  return request(what, 'POST', path, { headers: [JSON_TYPE], body: JSON.stringify(json), statuses });
}

/** A schema of the API, as far as it is read here. */
interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
}

interface Operation {
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly schema: { readonly example?: string };
  }[];
  readonly security?: readonly { readonly bearer?: unknown }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: Schema }>> };
}

interface Endpoint {
  readonly method: string;
  readonly path: string;
  /** Media types of its body, and the names of all fields in it. */
  readonly bodyTypes: readonly string[];
  readonly fields: ReadonlySet<string>;
  readonly admin: boolean;
}

const { paths, components } = JSON.parse(readFileSync('openapi.json', 'utf8')) as {
  paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  components: { readonly schemas: Readonly<Record<string, Schema>> };
};

/** Adds the names of all fields that a schema has at any depth. */
function collectFields(
  schema: Schema | undefined,
  names: Set<string>,
  seen = new Set<string>(),
): Set<string> {
  if (!schema) return names;
  const { $ref, properties = {}, items, anyOf = [], oneOf = [], allOf = [] } = schema;
  if ($ref !== undefined && !seen.has($ref)) {
    seen.add($ref);
    collectFields(components.schemas[$ref.slice($ref.lastIndexOf('/') + 1)], names, seen);
  }
  for (const name of Object.keys(properties)) names.add(name);
  for (const inner of [...Object.values(properties), items, ...anyOf, ...oneOf, ...allOf])
    collectFields(inner, names, seen);
  return names;
}

/** Every endpoint of `openapi.json`, with the examples of its parameters: a new endpoint is fuzzed without a change here. */
export const ENDPOINTS: readonly Endpoint[] = Object.entries(paths).flatMap(([template, operations]) =>
  Object.entries(operations)
    .filter(([method]) => /^(?:get|put|post|delete|patch)$/.test(method))
    .map(([method, { parameters = [], security, requestBody }]) => ({
      method: method.toUpperCase(),
      path: template.replace(/\{([^}]+)\}/g, (_, name: string) => {
        const example = parameters.find((one) => one.in === 'path' && one.name === name)?.schema.example;
        if (example === undefined) throw new Error(`the API has no example for ${name} of ${template}`);
        return example;
      }),
      bodyTypes: Object.keys(requestBody?.content ?? {}),
      fields: Object.values(requestBody?.content ?? {}).reduce(
        (names, { schema }) => collectFields(schema, names),
        new Set<string>(),
      ),
      admin: security?.some((one) => 'bearer' in one) ?? false,
    })),
);

/** Every endpoint that reads a body, once for each media type, with the headers under which it is read. */
export const BODY_TARGETS = ENDPOINTS.flatMap(({ method, path, bodyTypes, fields, admin }) =>
  bodyTypes.map((type) => ({
    method,
    path,
    fields,
    headers: [['Content-Type', type] as const, ...(admin ? [AUTHORIZED, CURRENT_SET] : [])],
  })),
);
