import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config/config.js';
import {
  checkMachine,
  describeLimits,
  type MachineLimits,
  machineLimits,
  workerBound,
} from '../../config/machine-limits.js';
import { PACKAGE_ROOT } from '../../config/program-files.js';
import { messageOf } from '../../shared/errors.js';
import { type Finding, fault, fine, warning } from './finding.js';

/** Node's version, the machine's limits, the way the process is started, and the time it gets to end. */
export function checkProcess(config: Config, env: NodeJS.ProcessEnv, folder = process.cwd()): Finding[] {
  return [
    checkNode(process.versions.node),
    checkWorkers(machineLimits(config.variant), config.workers),
    checkStarter(env),
    checkDrain(config.drainMs, env, folder),
  ];
}

/** Whether the program runs within the limits of the machine or container, with as many workers as are wanted. */
export function checkWorkers(limits: MachineLimits, workers: number): Finding {
  const name = 'workers';
  try {
    checkMachine(limits);
  } catch (error) {
    return fault(name, messageOf(error), 'the daemon does not start here');
  }
  const detail = `${workers}, set by ${workerBound(limits, workers).replace('_', ' ')} (${describeLimits(limits)})`;
  return workers > limits.memoryFits
    ? warning(name, detail, `set INFERENCE_WORKERS=${limits.memoryFits}, or raise the memory limit`)
    : fine(name, detail);
}

/** Whether Node is one that the program supports. */
export function checkNode(version: string): Finding {
  const { engines } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as {
    engines: { node: string };
  };
  const wanted = engines.node.replace('>=', '');
  const [have, need] = [version, wanted].map((text) => text.split('.').map(Number));
  const older = compare(have ?? [], need ?? []) < 0;
  return older
    ? fault('node', `v${version}, needed is ${wanted} or newer`, 'use an image such as node:24-bookworm-slim')
    : fine('node', `v${version}`);
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of b.entries()) {
    const difference = (a[index] ?? 0) - value;
    if (difference !== 0) return difference;
  }
  return 0;
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
  return fine('starter', 'not started through npm');
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

/** Between SIGTERM and SIGKILL Railway waits 0 seconds unless it is told otherwise. */
function checkDrain(drainMs: number, env: NodeJS.ProcessEnv, folder: string): Finding {
  const needed = Math.ceil(drainMs / 1_000) + 2;
  const onRailway = Object.keys(env).some((name) => name.startsWith('RAILWAY_'));
  const said = env.RAILWAY_DEPLOYMENT_DRAINING_SECONDS ?? drainingIn(join(folder, 'railway.toml'));
  const fix = `set drainingSeconds = ${needed} in railway.toml, or RAILWAY_DEPLOYMENT_DRAINING_SECONDS=${needed}`;
  if (drainMs === 0) {
    return warning('drain', 'DRAIN_MS is 0: open requests are cut at every deploy', 'set DRAIN_MS=10000');
  }
  if (said === undefined) {
    return onRailway
      ? warning('drain', 'the platform waits 0 s after SIGTERM unless it is told otherwise', fix)
      : fine('drain', `${drainMs} ms after SIGTERM; the platform must wait longer than that`);
  }
  const seconds = Number(said);
  if (!(seconds > 0)) return fault('drain', `the platform waits ${said} s after SIGTERM`, fix);
  if (seconds * 1_000 < drainMs) {
    return fault('drain', `the platform waits ${seconds} s after SIGTERM, DRAIN_MS needs ${drainMs} ms`, fix);
  }
  return fine('drain', `${drainMs} ms, and the platform waits ${seconds} s`);
}

function drainingIn(file: string): string | undefined {
  try {
    return /^\s*drainingSeconds\s*=\s*"?(\d+)/m.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
