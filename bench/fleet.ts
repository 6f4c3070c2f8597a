/**
 * Costs of one replica of a fleet: `npm run bench:fleet [-- --rounds N]`. CPU time of all its processes per text, by batch
 * and length, from which requests per second and core follow whatever else the machine does; memory; and the boot of a
 * replica whose model comes from a feeder.
 */
import { readFileSync } from 'node:fs';
import type { CacheStatus } from '../src/api/cache.js';
import type { TestDaemon } from '../test/support/daemon-process.js';
import { childrenOf, cpuMsOf, memoryOf } from '../test/support/processes.js';
import { median } from '../test/support/stats.js';
import { benchArguments, startTimed, withFolder, writeRoutes } from './measure.js';

const WORDS =
  'please tell me where the parcel of last week is and why nobody has called me back about it yet'.split(' ');
const SHAPES = [
  { words: 8, batch: 1, requests: 400 },
  { words: 40, batch: 1, requests: 150 },
  { words: 160, batch: 1, requests: 60 },
  { words: 8, batch: 64, requests: 8 },
  { words: 40, batch: 64, requests: 4 },
] as const;
/** Connections at once: enough that the worker never waits. */
const CONNECTIONS = 8;

const { checkouts, rounds } = benchArguments(3);
const [checkout] = checkouts;
if (!checkout) throw new Error('nothing to measure');
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const processor = /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
say(`one replica with one worker, ${rounds} rounds, ${processor}\n`);

let count = 0;
/** A text of so many words that no cache knows. */
function textOf(words: number): string {
  count += 1;
  return Array.from({ length: words }, (_, at) =>
    at === 0 ? `number${count}` : WORDS[(at + count) % WORDS.length],
  ).join(' ');
}

const processesOf = ({ child }: TestDaemon): number[] => [child.pid ?? 0, ...childrenOf(child.pid ?? 0)];

/** CPU time of all processes of a daemon per text, in milliseconds. */
async function cpuPerText(
  daemon: TestDaemon,
  { words, batch, requests }: (typeof SHAPES)[number],
): Promise<number> {
  const cpu = (): number => processesOf(daemon).reduce((sum, pid) => sum + cpuMsOf(pid), 0);
  const before = cpu();
  let left = requests;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const [path, body] =
        batch === 1
          ? ['/classify', { text: textOf(words) }]
          : ['/classify/batch', { texts: Array.from({ length: batch }, () => textOf(words)) }];
      const { status } = await daemon.post(path as string, body);
      if (status !== 200) throw new Error(`answered ${status}`);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return (cpu() - before) / (requests * batch);
}

await withFolder(async (folder) => {
  const env = {
    INFERENCE_WORKERS: '1',
    CLASSIFY_METHOD: 'nearest',
    ROUTES_FILE: await writeRoutes(folder),
    MAX_QUEUE_MS: '60000',
  };
  const { daemon: feeder } = await startTimed(
    checkout,
    { ...env, MODEL_CACHE_DIR: `${folder}/feeder`, SERVE_MODEL: '1' },
    600_000,
  );
  say(`memory after the boot: ${Math.round(memoryOf(processesOf(feeder)))} MB`);
  for (const shape of SHAPES) {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) times.push(await cpuPerText(feeder, shape));
    const ms = median(times);
    const spread = `${Math.min(...times).toFixed(2)} to ${Math.max(...times).toFixed(2)}`;
    say(
      `${shape.words} words, ${shape.batch} a request: ${ms.toFixed(2)} ms CPU a text (${spread}), ${Math.round(1_000 / ms)} texts/s per core`,
    );
  }
  say(`memory after the load: ${Math.round(memoryOf(processesOf(feeder)))} MB`);
  const boots: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const fed = {
      ...env,
      MODEL_CACHE_DIR: `${folder}/fed-${round}`,
      MODEL_SOURCES: 'mirror',
      MODEL_MIRRORS: feeder.url,
    };
    const { daemon, readyMs } = await startTimed(checkout, fed, 600_000);
    boots.push(readyMs);
    const { counters } = (await daemon.get<CacheStatus>('/cache/status')).body;
    const cpu = processesOf(daemon).reduce((sum, pid) => sum + cpuMsOf(pid), 0);
    say(`boot from the feeder: ${Math.round(readyMs)} ms, ${cpu} ms CPU, ${counters.downloaded_bytes} bytes`);
    await daemon.stop();
  }
  await feeder.stop();
});
