import { AppError } from '../shared/errors.js';
import { didYouMean } from './closest.js';
import { type Route, type RouteSet, routeSetToJson } from './route-set.js';
import { parseRouteSet } from './routes.js';

/** The set with this route in it, in the place of the one of the same name, or at the end. */
export function withRoute(set: RouteSet, route: Route): RouteSet {
  const index = set.indexOf.get(route.name);
  if (index === undefined) return validated(set, [...set.routes, route]);
  return validated(set, set.routes.with(index, route));
}

/**
 * The set without a route.
 * @throws AppError `not_found`; `routes_invalid` when it is the last one
 */
export function withoutRoute(set: RouteSet, name: string): RouteSet {
  routeOf(set, name);
  return validated(
    set,
    set.routes.filter((route) => route.name !== name),
  );
}

/**
 * A route of the set.
 * @throws AppError `not_found`, naming what may have been meant
 */
export function routeOf(set: RouteSet, name: string): Route {
  const route = set.routes[set.indexOf.get(name) ?? -1];
  if (route) return route;
  const hint = didYouMean(name.slice(0, 128), set.indexOf.keys());
  throw new AppError('not_found', `there is no route "${name.slice(0, 128)}"${hint}`);
}

/** Sent through the reader of files, which alone knows what holds for a set as a whole. */
function validated({ method }: RouteSet, routes: readonly Route[]): RouteSet {
  return parseRouteSet(JSON.stringify(routeSetToJson({ method, routes })), {
    origin: 'routes',
    format: 'json',
  });
}
