import { readFileSync } from 'node:fs';
import { createServer, isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { isMountPoint } from '../../cache/volume.js';
import type { Config } from '../../config/config.js';
import {
  checkMachine,
  describeLimits,
  fitWorkers,
  type MachineLimits,
  machineLimits,
} from '../../config/machine-limits.js';
import type { ScoringMethod } from '../../config/parsers.js';
import { PACKAGE_ROOT } from '../../config/program-files.js';
import { readKeys } from '../../daemon/keys.js';
import { POOL_DEFAULTS } from '../../inference/pool.js';
import { probeRuntime } from '../../inference/worker.js';
import { ROUTES_FILE_IS_MOUNT } from '../../routes/file.js';
import { requireScorable } from '../../scoring/head/head-scoring.js';
import { errnoOf, explainListening, messageOf } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import { count } from '../format.js';
import { readRouteSet } from '../local-model.js';

/** Result of one check. `warn` works, but not as well as it could, or not always. */
export interface Finding {
  readonly check: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** Remedy; always there unless all is well. */
  readonly fix?: string;
}

/** All is well. */
export function fine(check: string, detail: string): Finding {
  return { check, status: 'ok', detail };
}

/** Works, but. */
export function warning(check: string, detail: string, fix: string): Finding {
  return { check, status: 'warn', detail, fix };
}

/** Does not work. */
export function fault(check: string, detail: string, fix: string): Finding {
  return { check, status: 'fail', detail, fix };
}

/** Node's version, the machine's limits, the way the process is started, and the time it gets to end. */
export function checkProcess(config: Config, env: NodeJS.ProcessEnv, folder = process.cwd()): Finding[] {
  return [
    checkNode(process.versions.node),
    checkWorkers(machineLimits(config.variant), config.workers),
    checkStarter(env),
    checkDrain(config, env, folder),
    ...checkKeys(config),
  ];
}

/** Whether the files of keys can be read. */
function checkKeys(config: Config): Finding[] {
  if (config.apiKeysFile === undefined && config.adminKeysFile === undefined) return [];
  try {
    const { apiKeys, adminKeys } = readKeys(config);
    return [fine('keys', `${count(apiKeys.length, 'key')}, ${count(adminKeys.length, 'admin key')}`)];
  } catch (error) {
    return [fault('keys', messageOf(error), 'mend the file, or mount the secret there')];
  }
}

/** Whether the program runs within the limits of the machine or container, with as many workers as are wanted. */
export function checkWorkers(limits: MachineLimits, wanted: number): Finding {
  const name = 'workers';
  try {
    checkMachine(limits);
  } catch (error) {
    return fault(name, messageOf(error), 'the daemon does not start here');
  }
  const { workers, bound } = fitWorkers(limits, wanted);
  const instead = workers < wanted ? ` instead of ${wanted}` : '';
  const detail = `${workers}${instead}, set by ${bound.replace('_', ' ')} (${describeLimits(limits)})`;
  return workers < wanted
    ? warning(name, detail, `set INFERENCE_WORKERS=${workers}, or raise the memory limit`)
    : fine(name, detail);
}

const ignore = (): void => undefined;
export const SILENT: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Whether the native library loads, tried in a process of its own. */
export async function checkRuntime(): Promise<Finding> {
  const reason = await probeRuntime(POOL_DEFAULTS.workerEntry, SILENT);
  return reason === undefined
    ? fine('native runtime', 'loads')
    : fault(
        'native runtime',
        `does not load: ${reason}`,
        'run "npm ci" on this system, or use an image such as node:24-bookworm-slim',
      );
}

/** Whether Node is one that the program supports. */
export function checkNode(version: string): Finding {
  const { engines } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as {
    engines: { node: string };
  };
  const wanted = engines.node.replace('>=', '');
  return version.localeCompare(wanted, 'en', { numeric: true }) < 0
    ? fault('node', `v${version}, needed is ${wanted} or newer`, 'use an image such as node:24-bookworm-slim')
    : fine('node', `v${version}`);
}

/**
 * A package manager or a shell between the platform and the program may swallow SIGTERM, and then nothing is
 * drained. Process 1 is what the container was started with.
 */
function checkStarter(env: NodeJS.ProcessEnv): Finding {
  const fix =
    'start node itself: CMD ["node", "dist/main.js", "serve"], and no start command in the dashboard';
  const script = env.npm_lifecycle_event;
  if (script !== undefined && script !== 'npx') {
    return warning('starter', `started through "npm run ${script}", which may swallow SIGTERM`, fix);
  }
  const first = commandOf(1);
  if (/(^|\/)(npm|yarn|pnpm)(\.c?js|-cli\.js)?$/.test(programOf(first))) {
    return warning('starter', `process 1 is "${first.join(' ')}", which may swallow SIGTERM`, fix);
  }
  if (/(^|\/)(ba|da|a)?sh$/.test(first[0] ?? '') && first[1] === '-c') {
    return warning(
      'starter',
      `process 1 is a shell ("${first.join(' ')}"), which does not pass SIGTERM on`,
      fix,
    );
  }
  const isNpx = script === 'npx';
  return fine(
    'starter',
    isNpx ? 'started through npx; a daemon ends when its npx ends' : 'not started through npm',
  );
}

/** `node /usr/bin/npm start` is npm. */
function programOf([program = '', script = '']: readonly string[]): string {
  return /(^|\/)node$/.test(program) ? script : program;
}

function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .split('\0')
      .filter((part) => part !== '');
  } catch {
    return [];
  }
}

/** Seconds that Kubernetes waits between SIGTERM and SIGKILL, unless the pod says otherwise. */
const KUBERNETES_GRACE_SECONDS = 30;

/** Between SIGTERM and SIGKILL Railway waits 0 seconds by default, and no platform waits for ever. */
function checkDrain(
  { drainMs, shutdownDelayMs }: Pick<Config, 'drainMs' | 'shutdownDelayMs'>,
  env: NodeJS.ProcessEnv,
  folder: string,
): Finding {
  const neededMs = shutdownDelayMs + drainMs;
  const needed = Math.ceil(neededMs / 1_000) + 2;
  const names = shutdownDelayMs > 0 ? 'SHUTDOWN_DELAY_MS and DRAIN_MS need' : 'DRAIN_MS needs';
  const onRailway = Object.keys(env).some((name) => name.startsWith('RAILWAY_'));
  const said = env.RAILWAY_DEPLOYMENT_DRAINING_SECONDS ?? drainingIn(join(folder, 'railway.toml'));
  const fix = `set drainingSeconds = ${needed} in railway.toml, or RAILWAY_DEPLOYMENT_DRAINING_SECONDS=${needed}`;
  if (drainMs === 0) {
    return warning('drain', 'DRAIN_MS is 0: open requests are cut at every deploy', 'set DRAIN_MS=10000');
  }
  if (env.KUBERNETES_SERVICE_HOST !== undefined) {
    if (neededMs >= KUBERNETES_GRACE_SECONDS * 1_000) {
      return warning(
        'drain',
        `${names} ${neededMs} ms, and a pod gets ${KUBERNETES_GRACE_SECONDS} s unless it says otherwise`,
        `set terminationGracePeriodSeconds: ${needed} in the pod`,
      );
    }
    return shutdownDelayMs > 0
      ? fine('drain', `${neededMs} ms after SIGTERM; a pod gets ${KUBERNETES_GRACE_SECONDS} s`)
      : warning(
          'drain',
          'Kubernetes sends requests for a moment after SIGTERM, and they would be refused',
          'set SHUTDOWN_DELAY_MS=5000',
        );
  }
  if (said === undefined || (!onRailway && env.RAILWAY_DEPLOYMENT_DRAINING_SECONDS === undefined)) {
    return onRailway
      ? warning('drain', 'the platform waits 0 s after SIGTERM by default', fix)
      : fine(
          'drain',
          `open requests have ${neededMs} ms after SIGTERM; let the platform wait longer (docker stop --time ${needed})`,
        );
  }
  const seconds = Number(said);
  if (!(seconds > 0)) return fault('drain', `the platform waits ${said} s after SIGTERM`, fix);
  if (seconds * 1_000 < neededMs) {
    return fault('drain', `the platform waits ${seconds} s after SIGTERM, ${names} ${neededMs} ms`, fix);
  }
  return fine('drain', `${neededMs} ms, and the platform waits ${seconds} s`);
}

function drainingIn(file: string): string | undefined {
  try {
    return /^\s*drainingSeconds\s*=\s*"?(\d+)/m.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

/**
 * Do the routes parse, and can they be scored as is wanted?
 * @param method for sets that name none
 */
export async function checkRoutes(file: string, method: ScoringMethod): Promise<Finding> {
  try {
    const set = await readRouteSet(file);
    requireScorable(set, method);
    if (await isMountPoint(file)) return warning('routes', ROUTES_FILE_IS_MOUNT, `mount ${dirname(file)}`);
    const { routes, warnings } = set;
    const [first] = warnings;
    if (first) {
      const detail = `${count(warnings.length, 'warning')}, the first: ${first.path}: ${first.message}`;
      return warning('routes', detail, `look at ${file}`);
    }
    return fine('routes', `${count(routes.length, 'route')} in ${file}`);
  } catch (error) {
    // A line for each fault; a row of the table has one.
    return fault('routes', messageOf(error).replaceAll('\n', '; '), `mend ${file}, or set ROUTES_FILE`);
  }
}

/** How long the program that holds the port may take to say what it is, in milliseconds. */
const ASK_MS = 2_000;

/** Is the port free (or held by this very program), and can private networks over IPv6 reach it? */
export async function checkNetwork({ port, host }: Config, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  return [await checkPort(port, host), await checkIpv6(host, env)];
}

async function checkPort(port: number, host: string | undefined): Promise<Finding> {
  const trouble = await tryListen(port, host ?? '::').then((error) =>
    host === undefined && isWithoutIpv6(error) ? tryListen(port, '0.0.0.0') : error,
  );
  if (trouble === undefined) return fine('port', port === 0 ? 'any free one' : `${port} is free`);
  if (errnoOf(trouble) === 'EADDRINUSE') {
    if (await answersAsDaemon(port)) return fine('port', `${port} is held by a running ai-router`);
    return fault(
      'port',
      `${port} is in use by another program`,
      'set PORT to another one, or end that program',
    );
  }
  if (errnoOf(trouble) === 'EACCES') {
    return fault('port', `${port} is not permitted for this user`, 'set PORT to one above 1023');
  }
  return fault('port', `cannot listen on ${port}: ${explainListening(trouble, host)}`, 'check HOST and PORT');
}

async function checkIpv6(host: string | undefined, env: NodeJS.ProcessEnv): Promise<Finding> {
  const fix = 'unset HOST, so that it listens on :: (IPv6 and IPv4)';
  const onRailway = Object.keys(env).some((name) => name.startsWith('RAILWAY_'));
  if (host !== undefined && isIP(host) === 0) return fine('ipv6', `as HOST=${host} resolves`);
  if (host !== undefined && isIP(host) === 4) {
    const detail = `HOST=${host} listens on IPv4 only; private networks (Railway's among them) use IPv6`;
    return onRailway ? fault('ipv6', detail, fix) : warning('ipv6', detail, fix);
  }
  const trouble = await tryListen(0, '::');
  return trouble === undefined
    ? fine('ipv6', 'listens on :: (IPv6 and IPv4)')
    : warning(
        'ipv6',
        `this machine has no IPv6 (${messageOf(trouble)}); IPv4 is used`,
        'enable IPv6 if peers need it',
      );
}

function isWithoutIpv6(error: unknown): boolean {
  return errnoOf(error) === 'EAFNOSUPPORT' || errnoOf(error) === 'EADDRNOTAVAIL';
}

function tryListen(port: number, host: string): Promise<unknown> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(error));
    server.listen({ port, host }, () => server.close(() => resolve(undefined)));
  });
}

async function answersAsDaemon(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://localhost:${port}/livez`, { signal: AbortSignal.timeout(ASK_MS) });
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null && 'status' in body && body.status === 'alive';
  } catch {
    return false;
  }
}
