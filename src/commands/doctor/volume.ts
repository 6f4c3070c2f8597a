import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asVolumeError, spaceOf, statOf } from '../../cache/disk.js';
import type { Manifest } from '../../cache/manifest.js';
import { ContentStore } from '../../cache/store.js';
import { type Mount, mountOf, RESERVE_BYTES } from '../../cache/volume.js';
import type { Config } from '../../config/config.js';
import { errnoOf } from '../../shared/errors.js';
import { formatBytes, modelName, pinnedBytes } from '../format.js';
import { type Finding, fault, fine, warning } from './checks.js';

/** File systems that end with the container or the machine. */
const FLEETING = new Set(['overlay', 'aufs', 'rootfs']);

/** Is the cache folder a mount, writable by this user, with room, and whole? */
export async function checkVolume(
  config: Config,
  manifest: Manifest,
  env: NodeJS.ProcessEnv,
): Promise<Finding[]> {
  const { cacheDir } = config;
  const store = new ContentStore(cacheDir);
  const existing = await nearestExisting(cacheDir);
  const missing: string[] = [];
  let missingBytes = 0;
  let isCorrupt = false;
  for (const file of manifest.files) {
    const { state } = await store.verify(file);
    if (state === 'verified') continue;
    isCorrupt ||= state === 'corrupt';
    missing.push(file.path);
    missingBytes += file.size;
  }
  const isNew = missing.length === manifest.files.length && !isCorrupt && config.sources[0] === 'bundled';
  return [
    checkMount(config, await mountOf(cacheDir), env),
    await checkWritable(cacheDir, existing, missing.length === 0, env),
    await checkRoom(existing, missingBytes, pinnedBytes(manifest)),
    missing.length === 0 || isNew
      ? fine('cache', isNew ? 'empty: the first start fills it' : `whole: ${modelName(manifest)}`)
      : warning(
          'cache',
          `${missing.length} of ${manifest.files.length} files missing or corrupt: ${missing.join(', ')}`,
          'the daemon fetches them at its start; "ai-router pull" does it now',
        ),
  ];
}

function checkMount(
  { cacheDir, requireMount, sources, adminKeys }: Config,
  mount: Mount | undefined,
  env: NodeJS.ProcessEnv,
): Finding {
  const name = 'mount';
  const railwayPath = env.RAILWAY_VOLUME_MOUNT_PATH;
  if (railwayPath && cacheDir !== railwayPath && !cacheDir.startsWith(`${railwayPath}/`)) {
    return fault(
      name,
      `the volume is mounted at ${railwayPath}, but the cache folder is ${cacheDir}`,
      `set MODEL_CACHE_DIR=${railwayPath}, or unset it`,
    );
  }
  if (process.platform !== 'linux')
    return warning(name, 'this system does not tell its mounts', 'check by hand that it is a volume');
  if (requireMount && !mount) {
    return fault(
      name,
      `${cacheDir} is not a mounted volume, and REQUIRE_MOUNT says that it must be one`,
      `attach a volume at ${cacheDir}, or set REQUIRE_MOUNT=false if the folder may end with the container`,
    );
  }
  if (mount?.type === 'tmpfs' || mount?.type === 'ramfs') {
    return warning(
      name,
      `${cacheDir} is in memory (${mount.type}): it counts as memory and ends with the container`,
      'mount a volume there',
    );
  }
  if (!mount && !isContainer(env)) return fine(name, `${cacheDir} is a plain folder of this machine`);
  if (!mount || FLEETING.has(mount.type)) {
    // The model is bundled, and without ADMIN_KEYS no routes are changed over HTTP: an empty volume loses nothing.
    if (sources[0] === 'bundled' && adminKeys.length === 0 && !isPlatform(env))
      return fine(name, `${cacheDir} ends with the container, and is filled again from the bundled model`);
    return warning(
      name,
      `${cacheDir} is not on a mount of its own: its files end with the container`,
      'attach a volume at this path (on Railway: `railway volume add --mount-path ' +
        `${cacheDir}\`), unless the model is baked into the image or fetched at each start on purpose`,
    );
  }
  return fine(name, `${cacheDir} is on ${mount.point} (${mount.type})`);
}

/** Files that container engines put into every container. */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'] as const;

/** Whether this is a container, whose own files end with it, rather than someone's machine. */
export function isContainer(env: NodeJS.ProcessEnv, marks: readonly string[] = CONTAINER_MARKS): boolean {
  return isPlatform(env) || env.container !== undefined || marks.some((path) => existsSync(path));
}

function isPlatform(env: NodeJS.ProcessEnv): boolean {
  return Object.keys(env).some((name) => /^(RAILWAY_|KUBERNETES_SERVICE_)/.test(name));
}

async function checkWritable(
  cacheDir: string,
  existing: string,
  whole: boolean,
  env: NodeJS.ProcessEnv,
): Promise<Finding> {
  const uid = process.getuid?.();
  try {
    // Permission bits do not tell everything: a real write does.
    const probe = join(existing, `.doctor-${process.pid}.tmp`);
    await writeFile(probe, 'may be removed', { flag: 'wx' });
    await rm(probe, { force: true });
    const what = existing === cacheDir ? 'takes writes' : 'does not exist yet, and can be made';
    return fine('writable', `${cacheDir} ${what} (user ${uid ?? '?'})`);
  } catch (error) {
    const { message } = asVolumeError(error, `cannot write ${cacheDir}`);
    // The daemon is ready with such a cache: images with a baked one may have a read-only root.
    if (whole) return fine('writable', `${cacheDir} is whole and takes no writes; none is needed`);
    return fault('writable', message, fixOf(errnoOf(error), uid, env));
  }
}

function fixOf(errno: string | undefined, uid: number | undefined, env: NodeJS.ProcessEnv): string {
  if (errno === 'EROFS') return 'mount it writable, or set MODEL_CACHE_DIR to a volume';
  if (uid === 0)
    return 'not even root may write there: look at the options of the mount, or use another volume';
  const give = `give the folder to user ${uid ?? '?'} or its group`;
  const onRailway = Object.keys(env).some((name) => name.startsWith('RAILWAY_'));
  return onRailway ? `${give}, or set RAILWAY_RUN_UID=0` : give;
}

async function checkRoom(existing: string, missingBytes: number, allBytes: number): Promise<Finding> {
  const space = await spaceOf(existing).catch(() => undefined);
  if (!space) return warning('room', 'the file system does not tell its space', 'check by hand');
  const { freeBytes } = space;
  if (freeBytes < missingBytes + RESERVE_BYTES) {
    return fault(
      'room',
      `${formatBytes(freeBytes)} free, ${formatBytes(missingBytes)} still to be fetched`,
      'enlarge the volume, or free space: "ai-router prune --partials --quarantine --dry-run" shows what can go',
    );
  }
  if (freeBytes < allBytes) {
    return warning(
      'room',
      `${formatBytes(freeBytes)} free: too little to repair a corrupt file beside its bad copy (${formatBytes(allBytes)})`,
      'enlarge the volume',
    );
  }
  return fine('room', `${formatBytes(freeBytes)} free, the model takes ${formatBytes(allBytes)}`);
}

async function nearestExisting(path: string): Promise<string> {
  let current = path;
  while (current !== dirname(current) && !(await statOf(current).catch(() => undefined))) {
    current = dirname(current);
  }
  return current;
}
