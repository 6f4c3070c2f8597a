import type { RouteVersion } from './route-history.js';
import type { RouteSet } from './route-set.js';

/** Makes a set serve. `commit` runs when it is ready and before it serves; if it fails, the old set stays. */
export type ServeRoutes = (
  set: RouteSet,
  options: { readonly signal: AbortSignal; readonly commit?: () => Promise<void> },
) => Promise<void>;

/** The routes that are served, and where they come from. */
export interface ServedRoutes {
  readonly set: RouteSet;
  /** The version on the volume; `undefined` where the routes file itself is served. */
  readonly version: RouteVersion | undefined;
}

/** What a change came to. */
export interface ChangeReport extends ServedRoutes {
  /** Whether anything is different now. */
  readonly changed: boolean;
}
