/**
 * Flame pictures of the daemon's own process, of a boot and of requests from 32 connections, into `docs/flame/`.
 * `npm run bench:flame [-- SECONDS]`
 */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { framesOf } from './flame/frames.js';
import { flamePicture } from './flame/picture.js';
import { closedLoop } from './load/closed-loop.js';
import { startDaemon } from './load/servers.js';

const seconds = Number(process.argv[2] ?? 8);
const folder = await mkdtemp(join(tmpdir(), 'ai-router-flame-'));

/** Draws what the daemon does from its start to its end. */
async function draw(name: string, title: string, work: (url: string) => Promise<unknown>): Promise<void> {
  const profiles = join(folder, name);
  const daemon = await startDaemon(join(folder, 'volume'), {}, [
    '--cpu-prof',
    '--cpu-prof-interval=500',
    `--cpu-prof-dir=${profiles}`,
  ]);
  await work(daemon.url);
  await daemon.stop();
  const file = (await readdir(profiles)).find((one) => one.includes(`.${daemon.pid}.`));
  if (!file) throw new Error('the daemon left no profile');
  await writeFile(`docs/flame/${name}.svg`, flamePicture(framesOf(join(profiles, file)), title));
  process.stdout.write(`docs/flame/${name}.svg\n`);
}

try {
  // The first boot fills the volume.
  await (await startDaemon(join(folder, 'volume'))).stop();
  await draw('boot', 'A warm boot, and the end: the daemon’s own process', async () => undefined);
  await draw('requests', 'Unique texts from 32 connections: the HTTP process', (url) =>
    closedLoop(url, { connections: 32, seconds }),
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
