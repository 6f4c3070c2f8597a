import { join } from 'node:path';
import { childrenOf, memoryOf } from '../test/support/processes.js';
import { benchArguments, Samples, startTimed, withFolder, writeRoutes } from './measure.js';

const HELP = `Time from the start of the process to the first 200 of \`/health\`, and memory: \`npm run bench:boot [-- --against DIR]
[--rounds N]\`. With \`--against\`, the built checkout in DIR is measured in turns with this one.`;

const { checkouts, rounds } = benchArguments(HELP, 7);
const samples = new Samples();

await withFolder(async (folder) => {
  const file = await writeRoutes(folder);
  const sets = [
    { name: 'default routes', env: {} },
    { name: '150 × 10 utterances', env: { ROUTES_FILE: file } },
  ];
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, env } of sets) {
      const volumes = new Map(
        checkouts.map((checkout) => [checkout, join(folder, `${checkout.name}-${name}-${round}`)]),
      );
      for (const kind of ['first', 'warm']) {
        for (const checkout of round % 2 === 0 ? checkouts : checkouts.toReversed()) {
          const volume = volumes.get(checkout) ?? '';
          const { daemon, readyMs } = await startTimed(
            checkout,
            { MODEL_CACHE_DIR: volume, ...env },
            180_000,
          );
          samples.note(`${kind} boot, ${name}, ms`, checkout, readyMs);
          const pid = daemon.child.pid ?? 0;
          if (kind === 'warm')
            samples.note(`memory (PSS), ${name}, MB`, checkout, memoryOf([pid, ...childrenOf(pid)]));
          await daemon.stop();
        }
      }
    }
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
  }
});
samples.print(rounds);
