import { readFileSync, writeFileSync } from 'node:fs';
import { commandLine } from '../scripts/command-line.js';
import { SETTINGS } from '../src/config/settings.js';
import { type Chart, readChart } from './fleet/autoscaler.js';
import {
  BOUNDS,
  type Compared,
  coresOf,
  costsAt,
  errorsOf,
  isWithinBounds,
  runReal,
  sharingOf,
  simulateBoots,
  simulateRun,
} from './fleet/compare.js';
import { type Measured, measure } from './fleet/measure.js';
import { type Rule, simulateDay, timeUntilAllServe, trafficOf } from './fleet/scenario.js';
import type { Limits } from './fleet/simulation.js';
import { type HpaTrace, simulateTrace, startMsOf, startMsOfOne } from './fleet/trace.js';
import { withFolder } from './measure.js';

const HELP = `How a fleet grows: \`npm run bench:fleet [-- measure | compare | simulate]\`. \`measure\` measures one replica on one
core, and what becomes of loads on four daemons behind HAProxy, and writes both to bench/fleet/measured.json: three minutes
on an otherwise idle machine with \`haproxy\` and \`taskset\`; \`compare\` does the second alone. \`simulate\` reads that file,
simulates the same loads, and what the real HPA did (bench/fleet/trace.json, which \`npm run fleet -- autoscaling\` writes);
only if both agree, larger fleets. Without a word: all of it.`;
const { values, words } = commandLine(HELP, {
  words: ['measure', 'compare', 'simulate'],
  options: {
    file: { type: 'string', default: 'bench/fleet/measured.json' },
    trace: { type: 'string', default: 'bench/fleet/trace.json' },
    seed: { type: 'string', default: '1' },
    /** Price of a core for an hour. */
    price: { type: 'string', default: '0.04' },
    /** Length of the simulated day in hours: a short one swings faster than a real one. */
    hours: { type: 'string', default: '6' },
    swing: { type: 'string', default: '0.6' },
    bursts: { type: 'string', default: '4' },
    'burst-factor': { type: 'string', default: '2' },
    'burst-seconds': { type: 'string', default: '60' },
    balance: { type: 'string', default: 'random' },
    cell: { type: 'string', default: '2' },
    /** Network of a node, in Gbit/s. */
    network: { type: 'string', default: '1' },
  },
});

const say = (line = ''): void => void process.stdout.write(`${line}\n`);
const number = (name: keyof typeof values): number => Number(values[name]);
const HOUR_MS = 3_600_000;
const RATES = [100, 10_000, 100_000];
const FED = 1_000;
const FAN_OUTS = [32, 10];

/** Contents of the file. */
interface Recorded {
  readonly measured: Measured;
  readonly compared: Compared;
}

const limits: Limits = {
  maxQueue: SETTINGS.maxQueue.fallback({}),
  maxQueueMs: SETTINGS.maxQueueMs.fallback({}),
  maxConnections: SETTINGS.maxConnections.fallback({}),
};

const [asked = 'all'] = words;
if (asked !== 'simulate') {
  await withFolder(async (folder) => {
    const before = asked === 'compare' ? read<Recorded>(values.file).measured : undefined;
    const measured = before ?? (await measure(folder, progress));
    const compared = await runReal(folder, measured, progress);
    const recorded: Recorded = { measured, compared };
    writeFileSync(values.file, `${JSON.stringify(recorded, null, 2)}\n`);
  });
}
const { measured, compared } = read<Recorded>(values.file);
const trace = read<HpaTrace>(values.trace);
printMeasured(measured);
const recordedLimits: Limits = { ...limits, gathering: compared.gathering };
const sharing = sharingOf(measured, compared.runs, recordedLimits);
const costs = costsAt(measured, sharing);
const { holds, tail } = compare(compared, measured);
const hpaHolds = compareHpa();
if (!holds || !hpaHolds) {
  say('The simulation is too far off: no larger figures.');
  process.exitCode = 1;
} else if (asked === 'all' || asked === 'simulate') {
  printFleets(measured, readChart(), tail);
  printDistribution(measured);
}
process.exit();

function read<T>(file: string): T {
  return JSON.parse(readFileSync(file, 'utf8')) as T;
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function percent(share: number): string {
  return `${share > 0 ? '+' : ''}${(100 * share).toFixed(0)} %`;
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  say(`| ${head.join(' | ')} |`);
  say(`|${head.map((_, index) => (index === 0 ? '---|' : '---:|')).join('')}`);
  for (const row of rows) say(`| ${row.join(' | ')} |`);
  say();
}

function printMeasured({ date, machine, commit, loops, memoryMb, boots, feeder, overload }: Measured): void {
  say(`${date}, ${machine}, ${commit}\n`);
  table(
    [
      'words of a text',
      'texts in a request',
      'connections',
      'texts/s of one core',
      'CPU ms a text',
      'texts in a pass',
      'p50 ms',
    ],
    loops.map(({ words, batch, clients, textsPerSecond, requests, passes, httpMs, workerMs, p50Ms }) => [
      words,
      batch,
      clients,
      textsPerSecond.toFixed(0),
      ((httpMs + workerMs) / requests / batch).toFixed(2),
      ((requests * batch) / passes).toFixed(1),
      p50Ms.toFixed(1),
    ]),
  );
  table(
    ['boot from', 'ms on one core', 'CPU ms', 'bytes'],
    boots.map(({ from, readyMs, cpuMs, bytes }) => [from, readyMs, cpuMs, bytes]),
  );
  const rate = (feeder.bytesPerSecond / 1e6).toFixed(0);
  say(`memory: ${memoryMb.afterBoot} MB after the boot, ${memoryMb.afterLoad} MB after the load`);
  say(
    `feeder: ${rate} MB/s, ${feeder.cpuMsPerMb.toFixed(2)} ms CPU a MB; refusal: ${overload.refusalMs.toFixed(2)} ms CPU\n`,
  );
}

/** Prints the simulation of the real loads beside them; returns whether it is within the bounds, and how short its p99 is. */
function compare({ runs, allServeMs }: Compared, measured: Measured): { holds: boolean; tail: number } {
  let holds = true;
  let tail = 1;
  const rows = runs.map((run) => {
    const simulated = simulateRun(run, costs, recordedLimits);
    const errors = errorsOf(simulated, run);
    holds &&= isWithinBounds(errors);
    tail = Math.max(tail, run.real.p99Ms / simulated.p99Ms);
    const both = (of: (results: typeof simulated) => string): string => `${of(run.real)} / ${of(simulated)}`;
    return [
      run.load,
      coresOf(run).toFixed(2),
      run.real.sent,
      `${both(({ throughput }) => throughput.toFixed(0))} (${percent(errors.throughput)})`,
      `${both(({ p50Ms }) => p50Ms.toFixed(0))} (${percent(errors.p50)})`,
      `${both(({ p99Ms }) => p99Ms.toFixed(0))} (${percent(errors.p99)})`,
      both(({ refused, sent }) => `${((100 * refused) / sent).toFixed(1)} %`),
      both(({ textsPerPass }) => textsPerPass.toFixed(1)),
    ];
  });
  say(`Work costs ${sharing.toFixed(2)} times as much where replicas share caches (fitted).`);
  say('Four daemons behind HAProxy, real / simulated (off by):\n');
  table(
    ['load', 'cores', 'requests', 'accepted a second', 'p50 ms', 'p99 ms', 'refused', 'texts in a pass'],
    rows,
  );
  const expectedMs = simulateBoots(measured, sharing);
  const bootError = expectedMs / allServeMs - 1;
  holds &&= Math.abs(bootError) <= BOUNDS.boots;
  say(
    `four boots from one feeder at once, until all serve: ${allServeMs} ms / ${expectedMs.toFixed(0)} ms (${percent(bootError)})`,
  );
  const { throughput, p50, p99, refusedPoints, boots } = BOUNDS;
  const latencies = `p50 ${percent(p50)}, p99 ${percent(p99)}`;
  say(
    `bounds: throughput ${percent(throughput)}, ${latencies}, refusals ${refusedPoints} points, boots ${percent(boots)}\n`,
  );
  return { holds, tail };
}

/** Prints what the real HPA and the simulated one did under the same load; returns whether that is within the bound. */
function compareHpa(): boolean {
  const { off, replicas, most } = simulateTrace(trace, costs, { ...limits, maxQueueMs: 30_000 });
  const error = replicas.simulated / replicas.real - 1;
  const starts = [startMsOf(trace), ...trace.starts.map(startMsOfOne)].map((ms) => (ms / 1_000).toFixed(1));
  say(`The HPA's controller under a load of steps (${trace.date}), real / simulated:
${replicas.real.toFixed(2)} / ${replicas.simulated.toFixed(2)} replicas on average (${percent(error)}), ${most.real} / ${most.simulated} at most;
at one moment they differ by ${off.mean.toFixed(2)} replicas on average (${off.least.toFixed(2)} to ${off.most.toFixed(2)} by the moment of its syncs)
a pod serves ${starts[0]} s and a boot after the decision (${starts.slice(1).join(', ')})
bound: ${percent(BOUNDS.replicas)}\n`);
  return Math.abs(error) <= BOUNDS.replicas;
}

function printFleets(measured: Measured, chart: Chart, tail: number): void {
  const bootMs = Math.max(
    ...measured.boots.filter(({ from }) => from === 'image').map(({ readyMs }) => readyMs),
  );
  const { hpa, keda } = chart;
  const rules: readonly [string, Rule][] = [
    [`HPA: CPU ${hpa.cpu} %`, { kind: 'hpa', cpu: hpa.cpu }],
    [`KEDA: CPU ${keda.cpu} %, ${keda.waiting} waiting`, { kind: 'keda', ...keda }],
    [`${keda.waiting} waiting alone`, { kind: 'keda', waiting: keda.waiting }],
  ];
  const rows = RATES.flatMap((perSecond) =>
    rules.map(([name, rule]) => {
      const day = simulateDay({
        costs,
        limits,
        chart,
        rule,
        traffic: trafficOf(
          {
            perSecond,
            dayMs: number('hours') * HOUR_MS,
            swing: number('swing'),
            burstsPerDay: number('bursts'),
            burstFactor: number('burst-factor'),
            burstMs: number('burst-seconds') * 1_000,
          },
          number('seed'),
        ),
        min: rule.kind === 'hpa' ? chart.hpa.min : chart.keda.min,
        max: Number.POSITIVE_INFINITY,
        startMs: startMsOf(trace) + bootMs,
        balance: values.balance === 'least' ? 'least' : 'random',
        cell: number('cell'),
        seed: number('seed'),
      });
      const { least, mean, most } = day.replicas;
      const hourly = (day.coreHours * number('price')) / number('hours');
      return [
        perSecond.toLocaleString('en'),
        name,
        `${least} to ${most}, ${mean.toFixed(1)}`,
        day.p50Ms.toFixed(0),
        day.p99Ms.toFixed(0),
        (day.p99Ms * tail).toFixed(0),
        `${((100 * day.refused) / day.sent).toFixed(2)} %`,
        hourly.toFixed(2),
        ((hourly / perSecond / 3_600) * 1e6).toFixed(2),
      ];
    }),
  );
  say(
    `A day of ${values.hours} h that swings by ${values.swing}, ${values.bursts} bursts of ${values['burst-factor']} times the load for ${values['burst-seconds']} s; a pod serves after ${startMsOf(trace)} ms and a boot of ${bootMs} ms; ${values.price} a core and hour; balance: ${values.balance}\n`,
  );
  table(
    [
      'requests/s',
      'autoscaler',
      'replicas, mean',
      'p50 ms',
      'p99 ms',
      `p99 ms × ${tail.toFixed(1)}`,
      'refused',
      'cost an hour',
      'cost of a million',
    ],
    rows,
  );
}

function printDistribution({ boots, feeder }: Measured): void {
  const fed = boots.filter(({ from }) => from === 'feeder').at(-1);
  const bootMs = boots.find(({ from }) => from === 'image')?.readyMs ?? 0;
  const network = (number('network') * 1e9) / 8;
  const feederPerSecond = Math.min(network, 1e9 / feeder.cpuMsPerMb);
  const seconds = (bytes: number, fanOut?: number): string =>
    (
      timeUntilAllServe({
        replicas: FED,
        bytes,
        feederPerSecond,
        replicaPerSecond: network,
        bootMs,
        ...(fanOut !== undefined && { fanOut }),
      }) / 1_000
    ).toFixed(0);
  const bytes = fed?.bytes ?? 0;
  say(
    `${FED} replicas that start at once, ${bytes} bytes each, network of a node ${values.network} Gbit/s:\n`,
  );
  table(
    ['model from', 'all serve after s'],
    [
      ['one feeder', seconds(bytes)],
      ...FAN_OUTS.map((fanOut) => [`a tree, each feeds ${fanOut}`, seconds(bytes, fanOut)]),
      ['the image', seconds(0)],
    ],
  );
}
