import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CanarySpec, loadManifest } from '../../src/cache/manifest.js';
import { CANARY_TEXTS, makeRecipe, toBase64 } from '../../src/commands/pin/model.js';
import type { OriginFile } from '../../src/commands/pin/origins.js';
import { builtInManifest, PACKAGE_ROOT } from '../../src/config/program-files.js';
import { applyRecipe, parseRecipe } from '../../src/inference/recipe.js';
import { createSession } from '../../src/inference/session.js';
import { createTokenizer } from '../../src/inference/tokenizer.js';
import { commandLine } from '../command-line.js';

commandLine(`Makes \`model/q8-fixed-scales.recipe.json\` from the bundled model and \`model/calibration-texts.json\`, and brings
\`model/manifest.json\`, which names it, up to date: \`npm run recipe\`, then \`npm run background\`. A run on the same kind
of processor gives the same bytes, so that \`git diff\` shows whether the recipe is still that of the texts and the code.`);

const RECIPE = 'q8-fixed-scales.recipe.json';

const dynamic = await loadManifest(builtInManifest('q8-dynamic'));
const files = new Map(
  dynamic.files.map((file): [string, OriginFile] => [
    file.path,
    { ...file, location: join(PACKAGE_ROOT, 'model', file.path) },
  ]),
);
const embedding = { ...dynamic.embedding, batch_sensitive: false };
const recipe = await makeRecipe(embedding, files);
await writeFile(join(PACKAGE_ROOT, 'model', RECIPE), recipe);

const { digest: _, ...facts } = dynamic;
const manifest = {
  ...facts,
  variant: 'q8',
  embedding,
  recipe: { path: RECIPE, sha256: createHash('sha256').update(recipe).digest('hex') },
  canary: { ...dynamic.canary, cases: await knownAnswers() },
};
await writeFile(builtInManifest('q8'), `${JSON.stringify(manifest, null, 2)}\n`);
process.stdout.write(`${RECIPE}: result sha256 ${JSON.parse(recipe).result.sha256}\n`);

async function knownAnswers(): Promise<CanarySpec['cases']> {
  const bytes = (path: string) => readFile(join(PACKAGE_ROOT, 'model', path));
  const tokenizer = createTokenizer(
    await bytes(embedding.tokenizer),
    await bytes(embedding.tokenizer_config),
    embedding,
  );
  const graph = applyRecipe(parseRecipe(recipe), await bytes(embedding.model));
  const session = await createSession(graph, embedding);
  const cases: CanarySpec['cases'] = [];
  for (const text of CANARY_TEXTS) {
    const [vector = new Float32Array(0)] = await session.embed([tokenizer.encode(text).ids]);
    cases.push({ text, embedding: toBase64(vector) });
  }
  return cases;
}
