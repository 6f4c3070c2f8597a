import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileOf, loadManifest } from '../src/cache/manifest.js';
import { backgroundFile, builtInManifest, PACKAGE_ROOT, VARIANTS } from '../src/config/program-files.js';
import { readModel } from '../src/daemon/model.js';
import { WorkerPool } from '../src/inference/pool.js';
import { encodeBackground, SHIPPED } from '../src/scoring/noise.js';
import { fp32Model, workerEntry } from '../test/support/model.js';
import { commandLine } from './command-line.js';

commandLine(`Writes \`model/background.<variant>.bin\`, the vectors of the background and noise texts: \`npm run background\`, after any change
of these texts or of a pinned model. The weights of fp32 are not bundled: without \`AI_ROUTER_FP32_MODEL\`, its file
stays as it is.`);

const silent = { debug() {}, info() {}, warn() {}, error() {} };

for (const variant of VARIANTS) {
  const manifest = await loadManifest(builtInManifest(variant));
  const weights = fileOf(manifest, manifest.embedding.model).path;
  const fp32 = variant === 'fp32' ? fp32Model() : undefined;
  if (variant === 'fp32' && !fp32) {
    process.stderr.write('SKIPPED: fp32, for want of a model.onnx (AI_ROUTER_FP32_MODEL)\n');
    continue;
  }
  const pool = new WorkerPool({ log: silent, workerEntry, workers: 1 });
  await pool.load(
    await readModel(manifest, async ({ path }) =>
      path === weights && fp32 ? fp32 : readFile(join(PACKAGE_ROOT, 'model', path)),
    ),
  );
  const vectors = [];
  for (const text of SHIPPED) vectors.push((await pool.embed(text)).vector);
  await pool.close(0);
  await writeFile(backgroundFile(variant), encodeBackground(manifest.digest, vectors));
  process.stdout.write(`${backgroundFile(variant)}: ${vectors.length} vectors\n`);
}
