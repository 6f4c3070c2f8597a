import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { AppError } from '../shared/errors.js';
import type { Variant } from './program-files.js';

// Limits of the container or machine: how many workers it can carry, and whether the program runs there at all.

const MIB = 2 ** 20;

/**
 * Measured with q8 (23 MB of weights) in a container: the HTTP process and the pages that all processes share take
 * 130 MiB, each worker 90 MiB while it serves, and the weights once more while it loads them.
 */
const MEMORY = {
  base: 128 * MIB,
  worker: 64 * MIB,
  weights: { q8: 23 * MIB, 'q8-dynamic': 23 * MIB, fp32: 90 * MIB },
} as const;

/**
 * Measured with q8 and one worker, from an empty volume: with 192 MiB the kernel ends one worker after the other, 208 MiB
 * are used to the last page, and with 224 MiB batches of long texts are answered.
 */
const LEAST_MEMORY = 224 * MIB;

/** Name of what sets the number of workers. */
export type WorkerBound = 'cores' | 'cpu_quota' | 'memory_limit';

/** Limits of this process. */
export interface MachineLimits {
  /** Inference workers that fit, at least 1. */
  readonly workers: number;
  readonly bound: WorkerBound;
  /** Workers that the memory limit carries; infinite without one. */
  readonly memoryFits: number;
  readonly cores: number;
  /** CPUs that the control group may use on average; `undefined` without a quota. */
  readonly cpuQuota: number | undefined;
  /** Bytes; `undefined` without a limit. */
  readonly memoryLimit: number | undefined;
}

/** Reads the limits of this process. `root` is the folder that stands for `/`. */
export function machineLimits(
  variant: Variant = 'q8',
  root = '/',
  cores = availableParallelism(),
): MachineLimits {
  const { cpuQuota, memoryLimit } = controlGroupLimits(root);
  const perWorker = MEMORY.worker + 2 * MEMORY.weights[variant];
  const memoryFits =
    memoryLimit === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(1, Math.floor((memoryLimit - MEMORY.base) / perWorker));
  const cpuFits = cpuQuota === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(cpuQuota));
  const workers = Math.min(cores, cpuFits, memoryFits);
  const bound = workers === cores ? 'cores' : workers === cpuFits ? 'cpu_quota' : 'memory_limit';
  return { workers, bound, memoryFits, cores, cpuQuota, memoryLimit };
}

/**
 * Returns how many of the wanted workers are started, and what set that number. More than the memory limit carries would be
 * ended by the kernel one after the other.
 */
export function fitWorkers(
  { workers, bound, memoryFits }: MachineLimits,
  wanted: number,
): { workers: number; bound: WorkerBound | 'setting' } {
  if (wanted > memoryFits) return { workers: memoryFits, bound: 'memory_limit' };
  return { workers: wanted, bound: wanted === workers ? bound : 'setting' };
}

/** Describes limits in a few words. */
export function describeLimits({ cores, cpuQuota, memoryLimit }: MachineLimits): string {
  const quota = cpuQuota === undefined ? 'no CPU quota' : `a quota of ${cpuQuota} CPUs`;
  const memory =
    memoryLimit === undefined ? 'no memory limit' : `${Math.round(memoryLimit / MIB)} MiB of memory`;
  return `${cores} cores, ${quota}, ${memory}`;
}

/**
 * Checks that the program can run here.
 * @throws AppError `config_invalid` if there is too little memory, another C library, or no native runtime
 */
export function checkMachine({ memoryLimit }: MachineLimits, root = '/', glibc = glibcOfNode): void {
  if (memoryLimit !== undefined && memoryLimit < LEAST_MEMORY) {
    throw new AppError(
      'config_invalid',
      `the memory limit is ${Math.floor(memoryLimit / MIB)} MiB, and one worker needs ${LEAST_MEMORY / MIB} MiB; raise the limit`,
    );
  }
  // The report takes 30 ms and is made only where a musl loader exists.
  if (hasMusl(root) && glibc() === undefined) {
    throw new AppError(
      'config_invalid',
      'glibc is needed and this system has musl (Alpine); use a bookworm-slim image such as node:24-bookworm-slim',
    );
  }
  checkNativeRuntime(nativeRuntimeFolder());
}

/**
 * Checks that the files of the native runtime for this system are in the folder of its package.
 * @throws AppError `config_invalid` if one is missing: each worker would end at its start
 */
export function checkNativeRuntime(folder: string | undefined): void {
  const { platform, arch } = process;
  const own = folder && join(folder, 'bin/napi-v3', platform, arch);
  const names = own && existsSync(own) ? readdirSync(own) : [];
  const missing = [/\.node$/, /onnxruntime\..*(so|dylib|dll)/].some(
    (wanted) => !names.some((name) => wanted.test(name)),
  );
  if (!missing) return;
  throw new AppError(
    'config_invalid',
    `onnxruntime-node has no native library for ${platform}/${arch} in ${own ?? 'node_modules'}; install it on ` +
      'this system with "npm ci", or use an image for this processor',
  );
}

function nativeRuntimeFolder(): string | undefined {
  try {
    return dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  } catch {
    return undefined;
  }
}

function hasMusl(root: string): boolean {
  try {
    return readdirSync(join(root, 'lib')).some((name) => name.startsWith('ld-musl-'));
  } catch {
    return false;
  }
}

/** The version of glibc that Node is linked with; `undefined` with another C library. */
function glibcOfNode(): string | undefined {
  // Otherwise it would look up the names of open connections.
  Object.assign(process.report, { excludeNetwork: true });
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime;
}

/**
 * The tightest limits of this process's control groups and all above them. Version 2 has one tree; version 1 has one for
 * each controller, whose root in a container is often the container's own group, whatever path /proc names.
 */
function controlGroupLimits(root: string): { cpuQuota: number | undefined; memoryLimit: number | undefined } {
  const groups = (read(join(root, 'proc/self/cgroup')) ?? '').split('\n').map((line) => {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return { controllers: controllers.split(','), path };
  });
  const quotas: number[] = [];
  const limits: number[] = [];
  const tree = join(root, 'sys/fs/cgroup');
  for (const folder of foldersOf(tree, groups.find(({ controllers }) => controllers[0] === '')?.path)) {
    const [quota = '', period = ''] = (read(join(folder, 'cpu.max')) ?? '').trim().split(' ');
    quotas.push(Number(quota) / Number(period));
    limits.push(Number(read(join(folder, 'memory.max')) ?? Number.NaN));
  }
  for (const folder of foldersOf(
    join(tree, 'cpu'),
    groups.find(({ controllers }) => controllers.includes('cpu'))?.path,
  )) {
    // -1 is no quota.
    quotas.push(
      Number(read(join(folder, 'cpu.cfs_quota_us'))) / Number(read(join(folder, 'cpu.cfs_period_us'))),
    );
  }
  const memory = groups.find(({ controllers }) => controllers.includes('memory'))?.path;
  for (const folder of foldersOf(join(tree, 'memory'), memory)) {
    limits.push(Number(read(join(folder, 'memory.limit_in_bytes')) ?? Number.NaN));
  }
  return { cpuQuota: least(quotas), memoryLimit: least(limits) };
}

/** The folder of a group and those of all groups above it, as far as the tree. */
function foldersOf(tree: string, path = '/'): string[] {
  const folders: string[] = [];
  for (let at = posix.resolve('/', path); ; at = posix.dirname(at)) {
    folders.push(join(tree, at));
    if (at === '/') return folders;
  }
}

/** Version 1 writes "no limit" as a number near 2^63. */
function least(values: readonly number[]): number | undefined {
  const limits = values.filter((value) => value > 0 && value < 2 ** 60);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
