/**
 * Throughput and latency under load: `npm run bench [-- --against DIR] [--rounds N]`. With `--against`, the built
 * checkout in DIR is measured in turns with this one: each figure of a round directly after the other's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Crowd } from '../test/resilience/crowd.js';
import { type ClosedLoopOptions, openLoop, type Shape } from '../test/support/load.js';
import { cpuMsOf } from '../test/support/processes.js';
import { quantile } from '../test/support/stats.js';
import { benchArguments, type Checkout, own, Samples, startTimed, withFolder } from './measure.js';

const SECONDS = 4;
/** Probes a second beside the load: so many that the 99th percentile is not the worst one. */
const PROBES = 50;
const BATCH = 256;

interface Case {
  readonly name: string;
  readonly load: ClosedLoopOptions;
  readonly textsPerRequest?: number;
  /** A path that is asked beside the load. */
  readonly probe?: string;
}

const batch: Shape = { batch: { path: '/classify/batch', field: 'texts', size: BATCH } };
const CASES: readonly Case[] = [
  ...[1, 8, 32, 128].map((clients) => ({ name: `unique texts, ${clients} connections`, load: { clients } })),
  { name: `batches of ${BATCH}, 1 connection`, load: { clients: 1, shape: batch }, textsPerRequest: BATCH },
  { name: 'repeated text, 32 connections', load: { clients: 32, shape: { repeated: true } } },
  { name: 'beside 32 connections, /health', load: { clients: 32 }, probe: '/health' },
  { name: 'beside 32 connections, /metrics', load: { clients: 32 }, probe: '/metrics' },
];

const { checkouts, rounds } = benchArguments(5);
const samples = new Samples();

await withFolder(async (folder) => {
  const servers = await Promise.all(
    checkouts.map(async (checkout) => {
      const { daemon } = await startTimed(checkout, {
        MAX_QUEUE_MS: '60000',
        MODEL_CACHE_DIR: `${folder}/${checkout.name}`,
        LOG_LEVEL: 'info',
      });
      return {
        checkout,
        url: daemon.url,
        pid: daemon.child.pid ?? 0,
        crowd: await Crowd.start({ own }),
        daemon,
      };
    }),
  );
  for (const { crowd, url } of servers) await crowd.do('closedLoop', url, 2, { clients: 8 });
  for (let round = 0; round < rounds; round += 1) {
    for (const one of CASES) {
      // Who is first changes: the machine's pace drifts.
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) await measure(server, one);
    }
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
  }
  await Promise.all(servers.map(({ daemon }) => daemon.stop()));
});
samples.print(rounds);
process.exit();

interface Server {
  readonly checkout: Checkout;
  readonly url: string;
  readonly pid: number;
  readonly crowd: Crowd;
}

async function measure(
  { checkout, url, pid, crowd }: Server,
  { name, load, textsPerRequest = 1, probe }: Case,
) {
  const cpu = cpuMsOf(pid);
  const [{ accepted, refused, odd, perSecond }, probed] = await Promise.all([
    crowd.do('closedLoop', url, SECONDS, load),
    probe === undefined ? undefined : probes(url, probe),
  ]);
  if (refused.length + odd.length > 0)
    throw new Error(`${name}: ${refused.length} refusals, ${odd[0] ?? ''}`);
  if (probed !== undefined) {
    samples.note(`${name}, p99 ms`, checkout, probed);
    return;
  }
  samples.note(`${name}, texts/s`, checkout, perSecond * textsPerRequest);
  samples.note(`${name}, p50 ms`, checkout, quantile(accepted, 0.5));
  samples.note(`${name}, p99 ms`, checkout, quantile(accepted, 0.99));
  samples.note(
    `${name}, CPU of the HTTP process, ms/request`,
    checkout,
    (cpuMsOf(pid) - cpu) / accepted.length,
  );
}

/** Returns p99 in ms of a path asked beside the load, once that stands. */
async function probes(url: string, path: string): Promise<number> {
  await sleep(500);
  const { accepted, sent } = await openLoop(url, PROBES, SECONDS - 1, { get: path });
  if (accepted.length < sent) throw new Error(`${path} was refused`);
  return quantile(accepted, 0.99);
}
