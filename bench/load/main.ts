/**
 * The daemon under load, beside the raw limit of the machine and a naive server, in one run: rounds alternate, ratios
 * are taken within a round, and every goal is printed beside what was measured. `npm run bench -- --help`
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fp32, fp32Goals } from '../raw/fp32.js';
import { machine, Samples, table } from '../samples.js';
import type { Bench, Goal, Part } from './bench.js';
import { closedLoop } from './closed-loop.js';
import { batch, batchGoals } from './parts/batch.js';
import { boot, bootGoals } from './parts/boot.js';
import { closed, closedGoals, closeMeters } from './parts/closed.js';
import { memory, memoryGoals } from './parts/memory.js';
import { open, openGoals } from './parts/open.js';
import { scoring, scoringGoals } from './parts/scoring.js';
import { type Server, startDaemon, startYardstick } from './servers.js';
import { verdicts } from './verdict.js';

const PARTS: Readonly<Record<string, { readonly part: Part; readonly goals: readonly Goal[]; once?: true }>> =
  {
    closed: { part: closed, goals: closedGoals },
    batch: { part: batch, goals: batchGoals },
    open: { part: open, goals: openGoals },
    boot: { part: boot, goals: bootGoals },
    scoring: { part: scoring, goals: scoringGoals },
    memory: { part: memory, goals: memoryGoals, once: true },
    fp32: { part: fp32, goals: fp32Goals },
  };
const HELP = `npm run bench [-- OPTIONS]

  --rounds N        rounds, in turn over all parts (3)
  --seconds N       of one measurement (4)
  --only PART,…     ${Object.keys(PARTS).join(', ')}; all of them unless told otherwise
  --soak-minutes N  of full load, for memory, which is measured in the first round only (1)
  --json            instead of the table
`;
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', default: Object.keys(PARTS).join() },
    'soak-minutes': { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const selected = values.only.split(',');
const unknown = selected.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  process.stderr.write(`no such part: ${unknown.join(', ')}\n\n${HELP}`);
  process.exit(2);
}
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
if (!(rounds >= 1 && seconds >= 1)) {
  process.stderr.write(`--rounds and --seconds take numbers from 1 on\n\n${HELP}`);
  process.exit(2);
}

const folders: string[] = [];
const servers = new Map<string, Promise<Server>>();
const skipped = new Set<string>();
function once(name: string, start: () => Promise<Server>): Promise<Server> {
  const known = servers.get(name) ?? start();
  servers.set(name, known);
  return known;
}
const bench: Bench = {
  samples: new Samples(),
  seconds,
  cores: availableParallelism(),
  memorySeconds: Number(values['soak-minutes']) * 60,
  daemon: () =>
    once('daemon', async () => {
      const server = await startDaemon(await bench.folder());
      await closedLoop(server.url, { connections: 8, seconds });
      return server;
    }),
  yardstick: (name) =>
    once(name, async () => {
      const server = await startYardstick(name);
      await closedLoop(server.url, { connections: 2, seconds });
      return server;
    }),
  async folder() {
    const folder = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
    folders.push(folder);
    return folder;
  },
  skip(what) {
    if (!skipped.has(what)) process.stderr.write(`SKIPPED ${what}\n`);
    skipped.add(what);
  },
};

try {
  for (let round = 0; round < rounds; round += 1) {
    for (const name of selected) {
      const chosen = PARTS[name];
      if (!chosen || (chosen.once && round > 0)) continue;
      process.stderr.write(`round ${round + 1} of ${rounds}: ${name}\n`);
      await chosen.part(bench);
    }
  }
} finally {
  await closeMeters();
  for (const server of servers.values()) await (await server).stop();
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
}

const rows = bench.samples.rows();
const goals = verdicts(
  rows,
  selected.flatMap((name) => PARTS[name]?.goals ?? []),
);
const facts = `${machine()}, ${rounds} rounds of ${seconds} s`;
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine: facts, rows, goals, skipped: [...skipped] })}\n`
    : [
        facts,
        table(rows),
        '',
        'Goals, by the median (lowest to highest):',
        ...goals.map(({ line }) => line),
        ...[...skipped].map((what) => `SKIPPED ${what}`),
        '',
      ].join('\n'),
);
