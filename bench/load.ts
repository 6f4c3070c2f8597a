import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Crowd } from '../test/resilience/crowd.js';
import { type ClosedLoopOptions, openLoop, type Shape } from '../test/support/load.js';
import { childrenOf, cpuMsOf, memoryOf } from '../test/support/processes.js';
import { quantile } from '../test/support/stats.js';
import {
  benchArguments,
  type Checkout,
  type Goal,
  own,
  Samples,
  startTimed,
  withFolder,
  writeRoutes,
} from './measure.js';

const HELP = `Throughput and latency under load: \`npm run bench [-- --against DIR] [--rounds N]\`, about five minutes. With
\`--against\`, the built checkout in DIR is measured in turns with this one: each figure of a round directly after the
other's. 150 routes of 10 utterances; texts are unique, and no embedding is cached, unless a figure's name says so.`;

const SECONDS = 3;
/** V8 compiles what answers requests during the first 7,000 or so, in the process that is measured. */
const WARM_UP_SECONDS = 8;
/** Probes a second beside the load: so many that the 99th percentile is not the worst one. */
const PROBES = 50;
const BATCH = 256;
const READY_WAIT_MS = 180_000;

interface Case {
  readonly name: string;
  readonly load: ClosedLoopOptions;
  readonly textsPerRequest?: number;
  /** A path that is asked beside the load, {@link PROBES} times a second. */
  readonly probe?: string;
  readonly goals?: Partial<Record<'rate' | 'p50' | 'p99' | 'cpu' | 'probe', Goal>>;
}

const ratioAtLeast = (atLeast: number): Goal => ({ of: 'ratio', atLeast });
const ratioAtMost = (atMost: number): Goal => ({ of: 'ratio', atMost });
const atMost = (value: number): Goal => ({ of: 'value', atMost: value });

function unique(clients: number, goals: Case['goals'] = {}): Case {
  return { name: `${clients} connections`, load: { clients }, goals: { ...goals, cpu: atMost(0.25) } };
}

function batches(path: string, field: string): Case {
  const shape: Shape = { batch: { path, field, size: BATCH } };
  return {
    name: `${path}, ${BATCH} texts`,
    load: { clients: 1, shape },
    textsPerRequest: BATCH,
    goals: { rate: ratioAtLeast(1.6) },
  };
}

/** The cases, by the settings of the daemons that they are measured on. */
const GROUPS: readonly { readonly env: Readonly<Record<string, string>>; readonly cases: readonly Case[] }[] =
  [
    {
      env: { EMBEDDING_CACHE_BYTES: '0' },
      cases: [
        unique(1, { p50: ratioAtMost(0.75) }),
        unique(8, { rate: ratioAtLeast(1.3) }),
        unique(32, { rate: ratioAtLeast(1.4), p99: ratioAtMost(1) }),
        unique(128, { rate: ratioAtLeast(1.7) }),
        batches('/classify/batch', 'texts'),
        batches('/v1/embeddings', 'input'),
        { name: '8 connections, 256 tokens', load: { clients: 8, shape: { long: true } } },
        {
          name: 'beside 32 connections',
          load: { clients: 32 },
          probe: '/health',
          goals: { probe: atMost(20) },
        },
      ],
    },
    {
      env: {},
      cases: [
        {
          name: 'beside 32 connections, cached',
          load: { clients: 32, shape: { repeated: 'text' } },
          probe: '/health',
          goals: { probe: atMost(30) },
        },
      ],
    },
  ];

interface Server {
  readonly checkout: Checkout;
  readonly url: string;
  readonly pid: number;
  readonly crowd: Crowd;
}

const { checkouts, rounds } = benchArguments(HELP, 5);
const samples = new Samples();

await withFolder(async (folder) => {
  const routes = await writeRoutes(folder);
  for (const { env, cases } of GROUPS) {
    const daemons = await Promise.all(
      checkouts.map((checkout) => {
        const settings = {
          MAX_QUEUE_MS: '60000',
          MODEL_CACHE_DIR: join(folder, checkout.name),
          ROUTES_FILE: routes,
          ...env,
        };
        return startTimed(checkout, settings, READY_WAIT_MS);
      }),
    );
    const servers: Server[] = [];
    for (const [index, checkout] of checkouts.entries()) {
      const { url, child } = daemons[index]?.daemon ?? {};
      if (url) servers.push({ checkout, url, pid: child?.pid ?? 0, crowd: await Crowd.start({ own }) });
    }
    for (const { crowd, url } of servers) await crowd.do('closedLoop', url, WARM_UP_SECONDS, { clients: 32 });
    for (let round = 0; round < rounds; round += 1) {
      for (const one of cases) {
        // The order alternates: the machine's pace drifts.
        for (const server of round % 2 === 0 ? servers : servers.toReversed()) await measure(server, one);
      }
      process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    }
    for (const { checkout, pid } of servers)
      samples.note(
        `memory (PSS) after ${cases.length > 1 ? 'all loads' : 'cached texts'}, MB`,
        checkout,
        memoryOf([pid, ...childrenOf(pid)]),
        ratioAtMost(1),
      );
    await Promise.all(daemons.map(({ daemon }) => daemon.stop()));
  }
});
samples.print(rounds);
process.exit();

async function measure({ checkout, url, pid, crowd }: Server, one: Case): Promise<void> {
  const { name, load, textsPerRequest = 1, probe, goals = {} } = one;
  const cpu = cpuMsOf(pid);
  const [{ accepted, refused, odd, perSecond }, probed] = await Promise.all([
    crowd.do('closedLoop', url, SECONDS, load),
    probe === undefined ? undefined : probes(url, probe),
  ]);
  if (refused.length + odd.length > 0)
    throw new Error(`${name}: ${refused.length} refusals, ${odd[0] ?? ''}`);
  if (probed !== undefined) samples.note(`${probe} ${name}, p99 ms`, checkout, probed, goals.probe);
  const note = (what: string, value: number, goal?: Goal): void =>
    samples.note(`${name}, ${what}`, checkout, value, goal);
  note('texts/s', perSecond * textsPerRequest, goals.rate);
  if (probed !== undefined) return;
  note('p50 ms', quantile(accepted, 0.5), goals.p50);
  note('p99 ms', quantile(accepted, 0.99), goals.p99);
  note('CPU of the HTTP process, ms/request', (cpuMsOf(pid) - cpu) / accepted.length, goals.cpu);
}

/** Returns p99 in ms of a path asked beside the load, once that stands. */
async function probes(url: string, path: string): Promise<number> {
  await sleep(500);
  const { accepted, sent } = await openLoop(url, PROBES, SECONDS - 0.5, { get: path });
  if (accepted.length < sent) throw new Error(`${path} was refused`);
  return quantile(accepted, 0.99);
}
