/**
 * What a lone text gains when its forward pass has two threads, what that costs when there are many texts, and what
 * a second, idle session costs in memory.
 * `npm run bench:lone [-- --rounds 5 --seconds 1 --runtime FOLDER --json]`; FOLDER holds another onnxruntime-node.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { machine, Samples, table } from '../samples.js';
import { type Passes, runTogether, startPasses } from './passes-process.js';
import { FP32_MISSING, loadRuntime, modelPath, rowOf } from './runtime.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1' },
    runtime: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const cores = availableParallelism();
const LENGTHS = [5, 11, 30, 100, 256];
const samples = new Samples();

const kinds: { name: string; threads: number; spinning?: boolean; runtime?: string }[] = [];
const own = loadRuntime().version;
kinds.push({ name: `${own}, 1 thread`, threads: 1 }, { name: `${own}, ${cores} threads`, threads: cores });
if (values.runtime !== undefined) {
  const { runtime } = values;
  const { version } = loadRuntime(runtime);
  kinds.push(
    { name: `${version}, 1 thread`, threads: 1, runtime },
    { name: `${version}, ${cores} threads`, threads: cores, runtime },
    { name: `${version}, ${cores} threads, no spinning`, threads: cores, spinning: false, runtime },
  );
}

for (const variant of ['q8', 'fp32'] as const) {
  const model = modelPath(variant);
  if (model === undefined) {
    process.stderr.write(`${FP32_MISSING}\n`);
    continue;
  }
  const crews = new Map<string, Passes[]>();
  for (const { name, ...kind } of kinds) {
    crews.set(name, await Promise.all(Array.from({ length: cores }, () => startPasses({ model, ...kind }))));
  }
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const length of LENGTHS) {
      const batches = Array.from({ length: 20 }, (_, seed) => [rowOf(length, seed)]);
      for (const [name, [first]] of crews) {
        if (first)
          samples.note(
            `${variant}, ${length} tokens, ${name}: p50 ms`,
            (await first.run(batches, seconds)).p50,
          );
      }
    }
    const batches = Array.from({ length: 20 }, (_, seed) => [rowOf(11, seed)]);
    for (const [name, crew] of crews) {
      const { rate } = await runTogether(crew, batches, seconds);
      samples.note(`${variant}, 11 tokens, ${cores} processes at once, ${name}: texts/s`, rate);
    }
  }
  for (const crew of crews.values()) await Promise.all(crew.map((passes) => passes.stop()));

  for (const threads of [1, cores]) {
    const passes = await startPasses({ model, threads: 1 });
    await passes.run([[rowOf(256)]], 0.2);
    const before = await passes.memory();
    const after = await passes.open(threads, rowOf(256));
    const name = `${variant}, ${own}, a second session of ${threads} threads, idle:`;
    samples.note(`${name} PSS MB`, after.pss - before.pss);
    samples.note(`${name} private MB`, after.own - before.own);
    await passes.stop();
  }
}

const rows = samples.rows();
const facts = `${machine()}, ${values.rounds} rounds of ${seconds} s`;
process.stdout.write(
  values.json ? `${JSON.stringify({ machine: facts, rows })}\n` : `${facts}\n${table(rows)}\n`,
);
