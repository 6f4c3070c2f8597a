import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest, PACKAGE_ROOT } from '../../src/config/program-files.js';
import { applyRecipe, parseRecipe } from '../../src/inference/recipe.js';
import { createSession, type Session } from '../../src/inference/session.js';
import { createTokenizer } from '../../src/inference/tokenizer.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { cosine, fp32Model, goldenCases, modelFile } from '../../test/support/model.js';
import { Random } from '../../test/support/random.js';
import { mean, median } from '../../test/support/stats.js';
import { commandLine } from '../command-line.js';

commandLine(`Compares the graph with fixed scales with the hub's: \`npm run recipe:measure\`. Nothing here was used for calibration.
- cosine to fp32 by kind of text (weights at \`AI_ROUTER_FP32_MODEL\` or beside the project);
- whether a text's vector is the same to the bit in batches of mixed lengths;
- time of a pass by batch size, both graphs in alternation.`);

const { embedding: spec } = await loadManifest(builtInManifest('q8'));
const hubGraph = modelFile('onnx/model_quantized.onnx');
const recipe = parseRecipe(modelFile('q8-fixed-scales.recipe.json').toString());
const tokenizer = createTokenizer(modelFile('tokenizer.json'), modelFile('tokenizer_config.json'), spec);
const hub = await createSession(hubGraph, spec);
const fixed = await createSession(applyRecipe(recipe, hubGraph), spec);
const random = new Random(7);
const print = (line: string): boolean => process.stdout.write(`${line}\n`);

const kinds: Readonly<Record<string, readonly string[]>> = {
  golden: goldenCases.map(({ text }) => text),
  'docs and code': excerpts(['docs', 'src'], /\.(md|ts)$/),
  'other scripts': otherScripts(),
  intents: intents(),
};

await applyTime();
await closeness();
await equality();
await speed();

async function applyTime(): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < 20; round += 1) {
    const start = process.cpuUsage();
    applyRecipe(recipe, hubGraph);
    const { user, system } = process.cpuUsage(start);
    times.push((user + system) / 1_000);
  }
  print(`recipe applied in ${median(times).toFixed(1)} ms of CPU time (median; digest verified)`);
}

async function closeness(): Promise<void> {
  const weights = fp32Model();
  if (!weights) {
    print('SKIPPED: cosine to fp32, for want of a model.onnx (AI_ROUTER_FP32_MODEL)');
    return;
  }
  const fp32 = await createSession(weights, spec);
  for (const [kind, texts] of Object.entries(kinds)) {
    const rows = texts.map((text) => tokenizer.encode(text).ids);
    const reference = await alone(fp32, rows);
    for (const [name, session] of [
      ['hub', hub],
      ['fixed', fixed],
    ] as const) {
      const vectors = await alone(session, rows);
      const values = vectors.map((vector, index) => cosine(vector, reference[index] ?? []));
      const least = Math.min(...values).toFixed(4);
      print(`${kind} (${texts.length}), ${name}: mean ${mean(values).toFixed(4)}, least ${least}`);
    }
  }
}

async function equality(): Promise<void> {
  const pool = Object.values(kinds).flat();
  const rows = Array.from({ length: 1_000 }, () => tokenizer.encode(random.pick(pool)).ids);
  const single = await alone(fixed, rows);
  for (const size of [2, 3, 4, 8, 16, 32, 64]) {
    for (const sorted of [true, false]) {
      const order = rows.map((_, index) => index);
      if (sorted) order.sort((a, b) => (rows[a]?.length ?? 0) - (rows[b]?.length ?? 0));
      // Unsorted batches of long rows are mostly padding: a part of them is enough.
      const some = sorted ? order : order.slice(0, 256);
      let same = 0;
      for (let at = 0; at < some.length; at += size) {
        const batch = some.slice(at, at + size);
        const vectors = await fixed.embed(
          batch.map((index) => rows[index] ?? []),
          tokenizer.padId,
        );
        for (const [place, index] of batch.entries())
          if (vectors[place]?.every((value, i) => value === single[index]?.[i])) same += 1;
      }
      print(
        `batches of ${size}, ${sorted ? 'sorted' : 'unsorted'}: ${same} of ${some.length} equal to the bit`,
      );
    }
  }
}

async function speed(): Promise<void> {
  for (const length of [12, 64, 256]) {
    const row = Array.from({ length }, (_, index) => 1_996 + ((index * 7_919) % 20_000));
    for (const size of [1, 2, 4, 8, 16, 32]) {
      if (size * length > 2_048) continue;
      const rows = Array.from({ length: size }, () => row);
      const times = { hub: [] as number[], fixed: [] as number[] };
      const end = performance.now() + 1_500;
      while (performance.now() < end || times.fixed.length < 5) {
        for (const [name, session] of [
          ['hub', hub],
          ['fixed', fixed],
        ] as const) {
          // CPU time: what else runs on the machine counts less.
          const start = process.cpuUsage();
          await session.embed(rows);
          const { user, system } = process.cpuUsage(start);
          times[name].push((user + system) / 1_000);
        }
      }
      const [a, b] = [median(times.hub) / size, median(times.fixed) / size];
      print(
        `${length} tokens, batches of ${size}: hub ${a.toFixed(2)} ms a text, fixed ${b.toFixed(2)}, ${(a / b).toFixed(2)} x`,
      );
    }
  }
}

async function alone(session: Session, rows: readonly (readonly number[])[]): Promise<Float32Array[]> {
  const vectors: Float32Array[] = [];
  for (const row of rows) vectors.push(...(await session.embed([row])));
  return vectors;
}

/** Parts of 40 to 1,000 characters of the project's own files. */
function excerpts(folders: readonly string[], names: RegExp): string[] {
  return folders
    .flatMap((folder) =>
      filesOf(folder)
        .filter((path) => names.test(path))
        .slice(0, 60),
    )
    .map((path) => {
      const text = readFileSync(join(PACKAGE_ROOT, path), 'utf8');
      const from = random.integer(0, Math.max(0, text.length - 801));
      return text.slice(from, from + random.pick([40, 120, 400, 1_000]));
    });
}

/** Random letters of eight scripts, in words. */
function otherScripts(): string[] {
  const ranges = [
    [0x4e00, 0x9fa5],
    [0x3040, 0x30ff],
    [0x600, 0x6ff],
    [0x400, 0x4ff],
    [0x1f300, 0x1f64f],
    [0xc0, 0x17f],
    [0xac00, 0xd7a3],
    [0x900, 0x97f],
  ] as const;
  return ranges.flatMap(([low, high]) =>
    [2, 5, 12, 30, 60, 120].map((length) =>
      Array.from({ length }, () =>
        random.integer(0, 7) === 0 ? ' ' : String.fromCodePoint(random.integer(low, high)),
      ).join(''),
    ),
  );
}

function intents(): string[] {
  return filesOf('routes').flatMap((path) => {
    const { routes } = parseRouteSet(readFileSync(join(PACKAGE_ROOT, path), 'utf8'), { origin: path });
    return routes.flatMap(({ utterances }) => utterances);
  });
}

function filesOf(folder: string): string[] {
  const names = readdirSync(join(PACKAGE_ROOT, folder), { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => /\.\w+$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}
