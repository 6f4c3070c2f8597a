import { type CacheStatus, ClientError, type RouteSet } from '../../packages/client/src/index.js';
import { daemon, forgetKeys, hasKey, onKeyChange } from './api.js';
import { byId, poll, setText } from './dom.js';
import { enableRoutes, refreshRoutes, signIn } from './routes.js';
import { enableVerify, type State, showCache, showServing, showState } from './status.js';
import { showTraffic } from './traffic.js';
import { enableTry, showExamples } from './try.js';

/** Pauses between two looks, in milliseconds: while something is going on, otherwise, and when that was too often. */
const LOOK_MS = { busy: 500, calm: 2_000, refused: 10_000 } as const;
/** Every so many looks the routes are compared. */
const ROUTES_EVERY = 5;

let cache: CacheStatus | undefined;
let routes: RouteSet | undefined;
let state: State = 'unreachable';
let looks = 0;
let measuredAt = Number.NEGATIVE_INFINITY;

async function look(): Promise<number> {
  const isMeasured = performance.now() - measuredAt >= LOOK_MS.calm;
  const client = daemon();
  const [health, status, metrics] = await Promise.allSettled([
    client.health(),
    client.cacheStatus(),
    isMeasured ? client.metrics() : undefined,
  ]);
  if (status.status === 'fulfilled') cache = status.value;
  if (health.status === 'fulfilled') state = health.value;
  // An answer that is no report, such as that we ask too often, says nothing about the daemon's state.
  else if (!(health.reason instanceof ClientError) || health.reason.status === undefined)
    state = 'unreachable';
  else return LOOK_MS.refused;
  showState(state, cache);
  if (cache) showCache(cache);
  showServing({ model: cache?.manifest, routes });
  if (metrics.status === 'fulfilled' && metrics.value) {
    // However often the rest is looked at, the lines keep their scale.
    measuredAt = performance.now();
    showTraffic(metrics.value);
  }
  const isReady = state !== 'unreachable' && (state.status === 'ready' || state.status === 'degraded');
  if (!routes ? isReady || looks === 0 : looks % ROUTES_EVERY === 0) await refreshRoutes();
  looks += 1;
  const isBusy = state !== 'unreachable' && (!isReady || cache?.whole === false);
  return isBusy ? LOOK_MS.busy : LOOK_MS.calm;
}

function showKey(): void {
  setText(byId('operator'), hasKey('admin') || hasKey('api') ? 'Forget key' : 'Operator');
}

enableRoutes((set) => {
  routes = set;
  showServing({ model: cache?.manifest, routes });
  showExamples(set.routes);
});
const lookNow = poll(look);
enableTry(({ routes_digest: digest }) => {
  void refreshRoutes(digest);
  lookNow();
});
enableVerify(lookNow);
onKeyChange(() => {
  showKey();
  lookNow();
});
showKey();
byId('operator').addEventListener('click', () => {
  if (hasKey('admin') || hasKey('api')) forgetKeys();
  else void signIn();
});
