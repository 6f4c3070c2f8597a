/**
 * Embeds the background texts of the heads and writes `model/background.<variant>.bin`, which the program comes
 * with: `npm run background`, after any change of the texts or of a pinned model. The weights of fp32 are not
 * bundled: they are looked for at `AI_ROUTER_FP32_MODEL` or beside the project; without them its file stays.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileOf, loadManifest } from '../src/cache/manifest.js';
import { BACKGROUND } from '../src/classify/head/background.js';
import { encodeBackground } from '../src/classify/head/background-file.js';
import { createPool } from '../src/model/pool.js';
import { readModel } from '../src/read-model.js';
import { backgroundFile, builtInManifest, PACKAGE_ROOT, VARIANTS } from '../src/settings.js';
import { fp32Model } from '../test/support/model.js';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const workerEntry = new URL('../dist/inference-worker.js', import.meta.url);

for (const variant of VARIANTS) {
  const manifest = await loadManifest(builtInManifest(variant));
  const weights = fileOf(manifest, manifest.embedding.model).path;
  const fp32 = variant === 'fp32' ? fp32Model() : undefined;
  if (variant === 'fp32' && !fp32) {
    process.stderr.write('SKIPPED: fp32, for want of a model.onnx (AI_ROUTER_FP32_MODEL)\n');
    continue;
  }
  const bytes = await readModel(manifest, async ({ path }) =>
    path === weights && fp32 ? fp32 : readFile(join(PACKAGE_ROOT, 'model', path)),
  );
  const pool = createPool({ log: silent, workerEntry });
  try {
    // The canary proves that these are the weights and the runtime that the manifest was made with.
    await pool.load(bytes);
    const vectors = [];
    for (const text of BACKGROUND) vectors.push((await pool.embed(text)).vector);
    await writeFile(backgroundFile(variant), encodeBackground(manifest.digest, vectors));
    process.stdout.write(`${backgroundFile(variant)}: ${vectors.length} vectors\n`);
  } finally {
    await pool.close();
  }
}
