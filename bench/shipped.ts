/**
 * Makes what depends on nothing but files that the program comes with: `npm run shipped`, after any change of the
 * background texts, the default routes, the head or a pinned model.
 *
 * - `model/background.<variant>.bin`: the vectors of the background texts;
 * - `model/default-routes.q8.vectors.bin`, `….heads.bin`: those of the default routes, and their trained head.
 *
 * The weights of fp32 are not bundled: they are looked for at `AI_ROUTER_FP32_MODEL` or beside the project; without
 * them its file stays.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileOf, loadManifest, type Manifest } from '../src/cache/manifest.js';
import {
  backgroundFile,
  builtInManifest,
  defaultRoutesFile,
  PACKAGE_ROOT,
  VARIANTS,
  type Variant,
} from '../src/config/program-files.js';
import { readModel } from '../src/daemon/read-model.js';
import { shippedBackground, shippedRoutes } from '../src/daemon/route-caches.js';
import { createPool, type Pool } from '../src/inference/pool.js';
import { parseRouteSet } from '../src/routes/routes.js';
import { Classifier } from '../src/scoring/classifier.js';
import { BACKGROUND } from '../src/scoring/head/background.js';
import { encodeBackground } from '../src/scoring/head/background-file.js';
import { headScoring } from '../src/scoring/head/head-scoring.js';
import { fp32Model } from '../test/support/model.js';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const entry = (name: string): URL => new URL(`../dist/${name}.js`, import.meta.url);

async function makeBackground(pool: Pool, variant: Variant, { digest }: Manifest): Promise<void> {
  const vectors = [];
  for (const text of BACKGROUND) vectors.push((await pool.embed(text)).vector);
  await writeFile(backgroundFile(variant), encodeBackground(digest, vectors));
  process.stdout.write(`${backgroundFile(variant)}: ${vectors.length} vectors\n`);
}

async function makeDefaultRoutes(pool: Pool, variant: Variant, manifest: Manifest): Promise<void> {
  for (const what of ['vectors', 'heads'] as const)
    await rm(defaultRoutesFile(variant, what), { force: true });
  const { repo: id, revision, digest } = manifest;
  const { vectors, heads } = shippedRoutes(manifest, writeFile);
  const classifier = new Classifier({
    createScorer: headScoring({ method: 'head', workerEntry: entry('head-worker') }),
  });
  const file = join(PACKAGE_ROOT, 'routes/default.yaml');
  const { utterances } = await classifier.load(
    parseRouteSet(await readFile(file, 'utf8'), { origin: file }),
    {
      encoder: {
        embedder: pool,
        model: { id, revision, variant, digest },
        // Names and utterances in one file: what is put stays beside what was put before.
        cache: vectors,
        auxiliary: vectors,
        background: () => shippedBackground(manifest),
        heads,
        modelKey: heads.modelKey,
      },
    },
  );
  classifier.close();
  process.stdout.write(`${defaultRoutesFile(variant, 'heads')}: head of ${utterances} utterances\n`);
}

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
  const pool = createPool({ log: silent, workerEntry: entry('inference-worker') });
  try {
    // The canary proves that these are the weights and the runtime that the manifest was made with.
    await pool.load(bytes);
    await makeBackground(pool, variant, manifest);
    if (variant === 'q8') await makeDefaultRoutes(pool, variant, manifest);
  } finally {
    await pool.close();
  }
}
