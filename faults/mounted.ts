import { spawnSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pidOf } from '../campaign/sandbox.js';
import type { Trial } from '../campaign/trial.js';
import type { TestDaemon } from '../test/support/daemon-process.js';

/** A daemon in a mount namespace of its own, where its volume is a small file system. */
export interface Mounted {
  readonly daemon: TestDaemon;
  /** The volume's path, as the daemon sees it. */
  readonly volume: string;
  /** A path on the volume, as this process reaches it. */
  inside(path: string): string;
  /** Runs `mount` with these options on the volume, in the daemon's namespace. */
  mount(options: string): Promise<void>;
}

/** What the namespace is made with. */
export interface MountedOptions {
  readonly sizeMiB: number;
  /** Whether the file system is mounted before the daemon starts. Default: true. */
  readonly mount?: boolean;
  /** Whether the model is on it. */
  readonly filled?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a daemon on a tmpfs that only it sees. */
export async function mounted(
  trial: Trial,
  { sizeMiB, mount = true, filled = false, env = {} }: MountedOptions,
): Promise<Mounted> {
  const folder = await trial.sandbox.folder();
  const volume = join(folder, 'volume');
  await mkdir(volume);
  const template = filled ? await trial.sandbox.filledVolume() : '';
  const steps = [
    ...(mount ? [`mount -t tmpfs -o size=${sizeMiB}m none ${volume}`] : []),
    ...(filled ? [`cp -a ${template}/. ${volume}/`] : []),
    `exec ${process.execPath} dist/main.js serve`,
  ];
  const command = ['unshare', '-m', 'sh', '-c', steps.join(' && ')];
  const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, ...env }, { command });
  const pid = pidOf(daemon);
  return {
    daemon,
    volume,
    inside: (path) => `/proc/${pid}/root${join(volume, path)}`,
    mount: async (options) => {
      const args = ['-t', String(pid), '-m', 'mount', ...options.split(' '), volume];
      const { status, stderr } = spawnSync('nsenter', args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`nsenter mount ${options}: ${stderr}`);
    },
  };
}
