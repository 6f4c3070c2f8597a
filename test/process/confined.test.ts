import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { CacheStatus } from '../../src/api/cache.js';
import type { Decision } from '../../src/api/classify.js';
import { PROGRAM, servingDaemon, startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { Origin } from '../support/origin.js';
import { suiteEnd } from '../support/suite.js';
import { has } from '../support/tools.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();
const NOBODY = 65534;
const SECRET = 'credentials-of-the-machine-that-answers';

/** Whether this machine lets the daemon run with nothing but its volume writable. */
const confinable = has('root') && has('mounts') && has('setpriv');

/**
 * Makes every file system read-only but for the volume, gives up root for good and becomes the daemon, without a home
 * and without a place for temporary files. Ends at once where something could be written all the same.
 */
const CONFINED = `
set -eu
mount --make-rprivate /
mount --bind "$MODEL_CACHE_DIR" "$MODEL_CACHE_DIR"
sed 's/^[^ ]* \\([^ ]*\\) .*/\\1/' /proc/self/mounts | sort -u | while read -r at; do
  [ "$at" = "$MODEL_CACHE_DIR" ] || mount -o remount,bind,ro "$at" 2>/dev/null || true
done
for at in . /tmp /dev/shm /var/tmp; do
  if [ -d "$at" ] && ( : > "$at/writable-$$" ) 2>/dev/null; then
    rm -f "$at/writable-$$"
    echo "$at is writable" >&2
    exit 9
  fi
done
unset HOME TMPDIR
exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
`;

let volume: string;
let daemon: TestDaemon;
let inside: Origin;
let sha256OfConfig: string;

beforeAll(async () => {
  volume = await temporaryFolder(atEnd);
  await chown(volume, NOBODY, NOBODY).catch(() => undefined);
  inside = await Origin.start({ host: '127.0.0.2' });
  atEnd(() => inside.close());
  const mirror = await Origin.start();
  atEnd(() => mirror.close());
  const { repo, revision, files } = JSON.parse(await readFile('model/manifest.json', 'utf8')) as {
    repo: string;
    revision: string;
    files: { path: string; size: number; sha256: string }[];
  };
  sha256OfConfig = files.find(({ path }) => path === 'config.json')?.sha256 ?? '';
  for (const { path, size } of files) {
    // The small ones are as long as what is expected, so that nothing but the digest tells.
    const times = Math.ceil(Math.min(size, 2 ** 20) / SECRET.length);
    inside.put(`/internal/${path}`, Buffer.from(SECRET.repeat(times)).subarray(0, size), {
      headers: { 'X-Inside': SECRET },
    });
    for (const place of [`/${path}`, `/${repo}/resolve/${revision}/${path}`]) {
      mirror.redirect(place, `${inside.url}/internal/${path}`);
    }
  }
  daemon = await servingDaemon(
    {
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'mirror,bundled',
      MODEL_MIRRORS: mirror.url,
      LOG_LEVEL: 'trace',
    },
    {
      atEnd,
      ...(confinable && {
        command: ['unshare', '-m', 'sh', '-c', CONFINED, 'sh', process.execPath, ...PROGRAM],
      }),
    },
  );
}, 90_000);

const status = async (): Promise<CacheStatus> => (await daemon.get<CacheStatus>('/cache/status')).body;

describe('a daemon that may write to its volume only', () => {
  it.skipIf(!confinable)(
    'boots from nothing (needs root and mounts), as nobody, without a right',
    async () => {
      const own = await readFile(`/proc/${daemon.child.pid}/status`, 'utf8');
      expect(own).toMatch(new RegExp(`^Uid:\\s+${NOBODY}\\s+${NOBODY}`, 'm'));
      expect(own).toMatch(/^CapEff:\s+0{16}$/m);
      expect((await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' })).status).toBe(200);
      expect(daemon.stderr()).toBe('');
    },
  );

  it('heals', async () => {
    const blobs = join(volume, 'blobs/sha256');
    const [name = ''] = await readdir(blobs);
    await chmod(join(blobs, name), 0o644);
    await truncate(join(blobs, name), 100);
    await eventually(async () =>
      expect(await status()).toMatchObject({ whole: true, counters: { repairs: 1 } }),
    );
  });
});

describe('a file of the host, mounted over a blob', () => {
  it.skipIf(!confinable)('is neither loaded nor touched (needs root and mounts)', async () => {
    const folder = await temporaryFolder();
    const host = join(folder, 'of-the-host');
    const cache = join(folder, 'volume');
    const blob = join(cache, 'blobs/sha256', sha256OfConfig);
    await writeFile(host, SECRET);
    await mkdir(dirname(blob), { recursive: true });
    await writeFile(blob, '');
    const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
    const mounted = await startDaemon(
      { MODEL_CACHE_DIR: cache, LOG_LEVEL: 'trace' },
      { command: ['unshare', '-m', 'sh', '-c', script, 'sh', host, blob, process.execPath, ...PROGRAM] },
    );
    await eventually(async () =>
      expect(await mounted.get('/health')).toMatchObject({
        status: 503,
        body: { checks: { volume: { ok: false, code: 'volume_unavailable' } } },
      }),
    );
    expect(await readFile(host, 'utf8')).toBe(SECRET);
    expect(JSON.stringify([mounted.lines, await mounted.get('/cache/status')])).not.toContain(SECRET);
    const left = spawnSync('nsenter', ['-t', String(mounted.child.pid), '-m', 'umount', blob]);
    expect(left.status).toBe(0);
    await mounted.ready(30_000);
    expect(await readFile(host, 'utf8')).toBe(SECRET);
  });
});

describe('what a mirror’s redirect brings from the inside of a network', () => {
  it('is taken for no file, and shown nowhere', async () => {
    const { files } = await status();
    expect(inside.requests.length).toBeGreaterThanOrEqual(files.length);
    expect(files.map(({ state }) => state)).toEqual(files.map(() => 'verified'));
    const answers = await Promise.all(
      ['/cache/status', '/health', '/metrics', '/routes'].map(async (path) =>
        (await fetch(daemon.url + path)).text(),
      ),
    );
    const last = await daemon.get('/livez');
    const id = last.headers.get('x-request-id');
    await eventually(() => expect(daemon.lines.some(({ request_id }) => request_id === id)).toBe(true));
    expect(JSON.stringify(daemon.lines)).toContain('source_');
    for (const text of [...answers, JSON.stringify(daemon.lines), daemon.stderr()]) {
      expect(text).not.toContain(SECRET);
    }
    for (const entry of await readdir(volume, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = await readFile(join(entry.parentPath, entry.name));
      expect(bytes.includes(SECRET), entry.name).toBe(false);
    }
  });
});
