import { readFileSync } from 'node:fs';
import { parseRouteSet } from '../../src/routes/routes.js';
import { OPERATIONS } from './contract.js';

/** One input for the fuzzer: bytes for the wire, and which answers to them are right. */
export interface Input {
  /** What is odd about it, for people. */
  readonly what: string;
  readonly bytes: Buffer;
  readonly statuses: readonly number[];
  /** The bytes do not (or not surely) end a request: our direction is closed after them. */
  readonly unfinished?: true;
  /** More than one answer may come: the connection is not used again. */
  readonly alone?: true;
  /** The server may close without an answer. */
  readonly mayBeSilent?: true;
  readonly head?: true;
}

/** What an input is made of. */
export interface RequestParts {
  readonly what: string;
  readonly method?: string;
  readonly path: string;
  /** Written as they are. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array | string;
  readonly statuses: readonly number[];
}

/** A request that is well-formed HTTP, whatever its parts say. */
export function requestOf({
  what,
  method = 'POST',
  path,
  headers = [],
  body,
  statuses,
}: RequestParts): Input {
  const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(body as Uint8Array);
  const length: [string, string][] = body === undefined ? [] : [['Content-Length', String(bytes.length)]];
  const lines = [['Host', 'abuse.example'], ...headers, ...length].map(
    ([name, value]) => `${name}: ${value}`,
  );
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
  return {
    what,
    bytes: Buffer.concat([Buffer.from(head, 'latin1'), bytes]),
    statuses,
    ...(method === 'HEAD' && { head: true }),
  };
}

/** The key of the fuzzed daemon's administrator; it must come back in no answer. */
export const ADMIN_KEY = 'abuse-campaign-admin-key-0123456789';

export const JSON_TYPE = ['Content-Type', 'application/json'] as const;
export const AUTHORIZED = ['Authorization', `Bearer ${ADMIN_KEY}`] as const;
/** The routes that the fuzzed daemon serves, so that a change of them gets as far as its body. */
export const CURRENT_SET = [
  'If-Match',
  `"${parseRouteSet(readFileSync('routes/default.yaml', 'utf8'), { origin: 'default.yaml' }).digest}"`,
] as const;

/** A path that takes a body, and the headers under which the body is read. */
export interface BodyTarget {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** Every path that reads a body, once for each media type that it takes. */
export const BODY_TARGETS: readonly BodyTarget[] = OPERATIONS.flatMap(({ method, path, bodyTypes, admin }) =>
  bodyTypes.map((type) => ({
    method,
    path,
    headers: [['Content-Type', type] as const, ...(admin ? [AUTHORIZED, CURRENT_SET] : [])],
  })),
);
