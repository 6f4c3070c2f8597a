import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench, Goal, Part } from '../bench.js';
import { startDaemon } from '../servers.js';
import { textOf } from '../texts.js';

export const bootGoals: readonly Goal[] = [
  { name: 'first boot, default routes, ms', atMost: 1_000 },
  { name: 'warm boot, default routes, ms', atMost: 600 },
  { name: 'warm boot, 1,500 utterances, ms', atMost: 800 },
];

/** From the start of the process to the first 200 of `/health`; the page cache is warm. */
export const boot: Part = async (bench) => {
  await bootTwice(bench, 'default routes', {});
  const file = join(await bench.folder(), 'routes.json');
  const routes = Array.from({ length: 150 }, (_, route) => ({
    name: `route_${route}`,
    utterances: Array.from({ length: 10 }, (_, n) => textOf(route * 10 + n)),
  }));
  await writeFile(file, JSON.stringify({ routes }));
  await bootTwice(bench, '1,500 utterances', { ROUTES_FILE: file });
};

async function bootTwice(
  { samples, folder }: Bench,
  name: string,
  env: Record<string, string>,
): Promise<void> {
  const volume = await folder();
  for (const kind of ['first', 'warm']) {
    const daemon = await startDaemon(volume, env);
    samples.note(`${kind} boot, ${name}, ms`, daemon.readyMs);
    await daemon.stop();
  }
}
