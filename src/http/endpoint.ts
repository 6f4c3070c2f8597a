import type { Dialect } from './errors.js';
import type { Operation } from './openapi.js';
import type { RequestContext } from './request.js';

/**
 * Access to an endpoint. `open` never requires a key and is never counted; `key` requires one where `API_KEYS` is set;
 * `admin` always requires one of `ADMIN_KEYS`.
 */
export type Access = 'open' | 'key' | 'admin';

/** Values of the parameters in a path, decoded. */
export type PathParams = Readonly<Record<string, string>>;

/**
 * Everything there is to know of one endpoint. Router, access, errors, metrics, log and contract read it here. One without
 * `id` is not in the contract.
 */
export interface Endpoint<Ports> extends Partial<Operation> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Template, e.g. `/routes/{name}`; a parameter is one segment of the path, `{name+}` all the rest of it. */
  readonly path: string;
  readonly access: Access;
  /** Default: problem documents. */
  readonly dialect?: Dialect;
  /** Whether it embeds texts, so that it is refused before its body is read where the queue has no room. */
  readonly inference?: boolean;
  /** Whether monitors call it all the time; its requests are logged at debug level. */
  readonly quiet?: boolean;
  readonly handle: (context: RequestContext, ports: Ports, params: PathParams) => Promise<void> | void;
}
