import { type CacheStatus, ClientError, type RouteSet } from '../../packages/client/src/index.js';
import {
  askForKey,
  daemon,
  forgetKeys,
  hasKey,
  keyFor,
  onKeyChange,
  statusOf,
  withKey,
  wordsOf,
} from './api.js';
import { byId, focusOn, poll, setText } from './dom.js';
import { enableRoutes, refreshRoutes, showServing, signIn } from './routes.js';
import { enableVerify, type State, showCache, showState, waitingFor } from './status.js';
import { showTraffic } from './traffic.js';
import { enableTry, showExamples, showReadiness } from './try.js';

/** Pauses between two looks, in milliseconds: while something is going on, otherwise, and when that was too often. */
const LOOK_MS = { busy: 500, calm: 2_000, refused: 10_000 } as const;
/** A daemon that takes longer to tell its health does not answer, in milliseconds. */
const PATIENCE_MS = 5_000;
/** Every so many looks the routes are compared. */
const ROUTES_EVERY = 5;

let cache: CacheStatus | undefined;
let routes: RouteSet | undefined;
let state: State = 'unreachable';
let isLocked = false;
let looks = 0;
let measuredAt = Number.NEGATIVE_INFINITY;

async function look(): Promise<number> {
  const isMeasured = performance.now() - measuredAt >= LOOK_MS.calm;
  const client = daemon('api', PATIENCE_MS);
  // Without a key that the daemon wants only its health can be had, until it begins anew.
  const isOpen = !isLocked || hasAnyKey() || state === 'unreachable';
  const [health, status, metrics] = await Promise.allSettled([
    client.health(),
    isOpen ? client.cacheStatus() : undefined,
    isOpen && isMeasured ? client.metrics() : undefined,
  ]);
  if (status.status === 'fulfilled' && status.value) cache = status.value;
  if (health.status === 'fulfilled') state = health.value;
  // An answer that is no report, such as that we ask too often, says nothing about the daemon's state.
  else if (!(health.reason instanceof ClientError) || health.reason.status === undefined)
    state = 'unreachable';
  else return LOOK_MS.refused;
  if (isOpen && state !== 'unreachable')
    isLocked = status.status === 'rejected' && statusOf(status.reason) === 401;
  showLock();
  showState(state, cache);
  for (const button of document.querySelectorAll<HTMLButtonElement>('[data-asks]'))
    button.disabled = state === 'unreachable' || button.ariaBusy === 'true';
  if (isLocked) return LOOK_MS.calm;
  showReadiness(waitingFor(state));
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

/** Where a key is wanted there is nothing to show, and empty cards would say that there is nothing. */
function showLock(): void {
  byId('locked').hidden = !isLocked;
  byId('content').hidden = isLocked;
  byId('operator').hidden = isLocked || hasAnyKey();
  // A link carries no key.
  byId('open-links').hidden = isLocked || hasKey('api');
  if (isLocked && keyFor('api') !== undefined)
    setText(byId('locked-said'), 'The key of this tab is refused.');
}

function hasAnyKey(): boolean {
  return hasKey('admin') || hasKey('api');
}

function showKey(): void {
  byId('operator').hidden = hasAnyKey();
  byId('role').hidden = byId('forget').hidden = !hasAnyKey();
  setText(byId('role'), hasKey('admin') ? 'Operator' : 'Caller');
}

async function unlock(): Promise<void> {
  // Asked at once: the daemon has said that it requires a key, and what is typed next belongs into the dialog.
  if (!(await askForKey('api'))) return;
  try {
    await withKey('api', (client) => client.cacheStatus());
    setText(byId('locked-said'), '');
    byId('content').hidden = false;
    focusOn(byId('text'));
  } catch (error) {
    setText(byId('locked-said'), wordsOf(error));
  }
}

enableRoutes((set) => {
  routes = set;
  showServing({ model: cache?.manifest, routes });
  showExamples(set);
});
const lookNow = poll(look);
enableTry(({ routes_digest: digest }) => {
  void refreshRoutes(digest);
  // The decision counts at once.
  measuredAt = Number.NEGATIVE_INFINITY;
  lookNow();
});
enableVerify(lookNow);
onKeyChange(() => {
  showKey();
  lookNow();
});
showKey();
byId('unlock').addEventListener('click', () => void unlock());
byId('operator').addEventListener('click', async () => {
  // The button goes; a second Enter must not meet the one that throws the key away.
  if (await signIn(byId('operator-said'))) focusOn(byId('role'));
});
byId('forget').addEventListener('click', () => {
  forgetKeys();
  setText(byId('operator-said'), '');
  focusOn(byId('operator').hidden ? byId('state') : byId('operator'));
});
