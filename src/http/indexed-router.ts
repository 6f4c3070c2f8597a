import Router from '@koa/router';

type Match = ReturnType<Router['match']>;

/**
 * A router that remembers what stands at each path that is written out, rather than trying all patterns with every
 * request. It remembers no other paths: there is no end to those.
 */
export class IndexedRouter extends Router {
  readonly #matches = new Map<string, Match>();

  override match(path: string, method: string): Match {
    const key = `${method} ${path}`;
    const known = this.#matches.get(key);
    if (known) return known;
    const match = super.match(path, method);
    if (match.path.some((layer) => layer.path === path)) this.#matches.set(key, match);
    return match;
  }
}
