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

/** The outcome of {@link EndpointTable.match}. */
export interface Match<Ports> {
  /** `undefined` where nothing is at this path, or nothing that takes this method. */
  readonly endpoint: Endpoint<Ports> | undefined;
  readonly params: PathParams;
  /** Methods of this path; empty where nothing is there. */
  readonly allowed: readonly string[];
  readonly dialect: Dialect;
}

/** All endpoints of one template. */
interface Place<Ports> {
  readonly segments: readonly string[];
  readonly endpoints: Endpoint<Ports>[];
  /** Their methods. */
  allowed: readonly string[];
}

const PARAMETER = /^\{(\w+)(\+?)\}$/;

/**
 * Finds the endpoint of a request. Case and one slash at the end of a path make no difference. A path that is written out
 * in the table comes before any template with parameters, for all methods.
 */
export class EndpointTable<Ports> {
  readonly #literal = new Map<string, Place<Ports>>();
  readonly #templates: Place<Ports>[] = [];
  /** By first segment, for errors at unknown paths below it. */
  readonly #dialects = new Map<string, Dialect>(
    // An OpenAI client whose base URL lacks /v1 sends these; it shows no error in another shape.
    ['', 'v1', 'chat', 'completions', 'responses', 'moderations'].map((first) => [
      first,
      first === '' ? 'problem' : 'openai',
    ]),
  );

  constructor(endpoints: readonly Endpoint<Ports>[]) {
    const places = new Map<string, Place<Ports>>();
    for (const endpoint of endpoints) {
      const { path, dialect } = endpoint;
      let place = places.get(path);
      if (!place) {
        place = { segments: path.split('/').slice(1), endpoints: [], allowed: [] };
        places.set(path, place);
        if (path.includes('{')) this.#templates.push(place);
        else this.#literal.set(path, place);
      }
      place.endpoints.push(endpoint);
      place.allowed = place.endpoints
        .flatMap((each) => (each.method === 'GET' ? ['GET', 'HEAD'] : [each.method]))
        .sort();
      const [first = ''] = place.segments;
      if (dialect && !this.#dialects.has(first)) this.#dialects.set(first, dialect);
    }
  }

  /**
   * @param method HEAD is answered where GET is
   * @param path as it was sent, without query
   */
  match(method: string, path: string): Match<Ports> {
    const plain = path.length > 2 && path.endsWith('/') ? path.slice(0, -1) : path;
    const literal = this.#literal.get(plain.toLowerCase());
    if (literal) return this.#choose(literal, method, {});
    const segments = plain.split('/').slice(1);
    for (const template of this.#templates) {
      const params = paramsOf(template.segments, segments);
      if (params) return this.#choose(template, method, params);
    }
    return {
      endpoint: undefined,
      params: {},
      allowed: [],
      dialect: this.#dialects.get(segments[0] ?? '') ?? 'problem',
    };
  }

  #choose({ endpoints, allowed }: Place<Ports>, method: string, params: PathParams): Match<Ports> {
    const wanted = method === 'HEAD' ? 'GET' : method;
    const endpoint = endpoints.find((each) => each.method === wanted);
    return { endpoint, params, allowed, dialect: (endpoint ?? endpoints[0])?.dialect ?? 'problem' };
  }
}

/** The parameters of a path that fits a template, or `undefined`. */
function paramsOf(template: readonly string[], segments: readonly string[]): PathParams | undefined {
  const params: Record<string, string> = {};
  for (const [index, part] of template.entries()) {
    const segment = segments[index];
    if (segment === undefined) return undefined;
    const [, name, rest] = PARAMETER.exec(part) ?? [];
    if (name === undefined) {
      if (segment.toLowerCase() !== part) return undefined;
      continue;
    }
    const value = decode(rest ? segments.slice(index).join('/') : segment);
    if (value === '') return undefined;
    params[name] = value;
    if (rest) return params;
  }
  return segments.length === template.length ? params : undefined;
}

/** A name with a broken escape stands for itself. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
