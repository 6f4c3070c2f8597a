import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkWorkers } from '../../src/commands/doctor/checks.js';
import {
  checkMachine,
  checkNativeRuntime,
  fitWorkers,
  machineLimits,
} from '../../src/config/machine-limits.js';
import { temporaryFolder } from '../support/volume.js';

const MIB = 2 ** 20;
const UNLIMITED_V1 = '9223372036854771712\n';

/** A folder that stands for `/`. */
async function machine(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

/** A container as version 2 shows it, in a control group namespace. */
const version2 = (cpu: string, memory: string): Promise<string> =>
  machine({
    'proc/self/cgroup': '0::/\n',
    'sys/fs/cgroup/cpu.max': cpu,
    'sys/fs/cgroup/memory.max': memory,
  });

/** A container as version 1 shows it: the path is the host's, the files are the container's own. */
const version1 = (quota: string, memory: string): Promise<string> =>
  machine({
    'proc/self/cgroup': '4:memory:/docker/1a2b\n2:cpuacct,cpu:/docker/1a2b\n0::/docker/1a2b\n',
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': quota,
    'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': memory,
  });

describe('the number of workers', () => {
  it.each([
    ['version 2', () => version2('50000 100000\n', `${512 * MIB}\n`)],
    ['version 1', () => version1('50000\n', `${512 * MIB}\n`)],
  ])('is 1 with 0.5 CPU and 512 MiB on 48 cores, by %s', async (_, make) => {
    const limits = machineLimits('q8', await make(), 48);
    expect(limits).toMatchObject({
      workers: 1,
      bound: 'cpu_quota',
      cpuQuota: 0.5,
      memoryLimit: 512 * MIB,
      cores: 48,
    });
    expect(limits.memoryFits).toBeGreaterThan(1);
    expect(checkWorkers(limits, 1)).toMatchObject({
      status: 'ok',
      detail: expect.stringContaining('cpu quota'),
    });
  });

  it.each([
    ['version 2', () => version2('max 100000\n', 'max\n')],
    ['version 1', () => version1('-1\n', UNLIMITED_V1)],
    ['no control group', () => machine({})],
  ])('is that of the cores without limits, by %s', async (_, make) => {
    expect(machineLimits('q8', await make(), 6)).toMatchObject({
      workers: 6,
      bound: 'cores',
      cpuQuota: undefined,
      memoryLimit: undefined,
    });
  });

  it('is bounded by memory, more so for the large variant', async () => {
    const root = await version2('max 100000\n', `${1024 * MIB}\n`);
    const [small, large] = [machineLimits('q8', root, 48), machineLimits('fp32', root, 48)];
    expect([small.bound, large.bound]).toEqual(['memory_limit', 'memory_limit']);
    expect(large.workers).toBeLessThan(small.workers);
    expect(fitWorkers(small, 1)).toEqual({ workers: 1, bound: 'setting' });
    // More would be ended by the kernel one after the other.
    expect(fitWorkers(small, small.workers + 1)).toEqual({ workers: small.workers, bound: 'memory_limit' });
    expect(checkWorkers(small, small.workers + 1)).toMatchObject({
      status: 'warn',
      fix: expect.stringContaining(`INFERENCE_WORKERS=${small.workers}`),
    });
  });

  it('obeys the tightest group above that of the process', async () => {
    const root = await machine({
      'proc/self/cgroup': '0::/kubepods/pod1/container\n',
      'sys/fs/cgroup/kubepods/cpu.max': '400000 100000\n',
      'sys/fs/cgroup/kubepods/pod1/cpu.max': '200000 100000\n',
      'sys/fs/cgroup/kubepods/pod1/container/cpu.max': 'max 100000\n',
      'sys/fs/cgroup/kubepods/pod1/container/memory.max': 'max\n',
    });
    expect(machineLimits('q8', root, 8)).toMatchObject({ workers: 2, bound: 'cpu_quota' });
  });
});

describe('a machine that cannot carry the daemon', () => {
  it('is refused with the memory that one worker needs', async () => {
    const limits = machineLimits('q8', await version1('-1\n', `${192 * MIB}\n`), 2);
    expect(() => checkMachine(limits)).toThrow(/memory limit is 192 MiB, and one worker needs 224 MiB/);
    expect(checkWorkers(limits, 1).status).toBe('fail');
    expect(() => checkMachine(machineLimits('q8', '/nonexistent', 2))).not.toThrow();
  });

  it('is refused with the image to use if it has musl', async () => {
    const limits = machineLimits('q8', '/nonexistent', 2);
    const alpine = await machine({ 'lib/ld-musl-x86_64.so.1': '' });
    expect(() => checkMachine(limits, alpine, () => undefined)).toThrow(/glibc is needed.*bookworm-slim/);
    // Debian with the package musl: Node is still linked with glibc.
    expect(() => checkMachine(limits, alpine)).not.toThrow();
  });

  it('is refused if a file of the native runtime is missing', async () => {
    const { platform, arch } = process;
    const folder = `bin/napi-v3/${platform}/${arch}`;
    const half = await machine({ [`${folder}/onnxruntime_binding.node`]: '' });
    for (const at of [half, join(half, 'elsewhere'), undefined]) {
      expect(() => checkNativeRuntime(at)).toThrow(
        new RegExp(`no native library for ${platform}/${arch}.*npm ci`),
      );
    }
    await writeFile(join(half, folder, 'libonnxruntime.so.1.14.0'), '');
    expect(() => checkNativeRuntime(half)).not.toThrow();
  });
});
