/**
 * Makes `model/q8-fixed-scales.recipe.json` from the bundled model and `model/calibration-texts.json`: `npm run recipe`. A
 * run on the same kind of processor gives the same bytes, so that `git diff` shows whether the recipe is still that of
 * the texts and the code.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest, PACKAGE_ROOT } from '../../src/config/program-files.js';
import { makeFixedScalesRecipe } from '../../src/inference/fixed-scales.js';

const read = (path: string): Promise<Buffer> => readFile(join(PACKAGE_ROOT, 'model', path));

const { embedding: spec } = await loadManifest(builtInManifest('q8'));
const recipe = await makeFixedScalesRecipe(
  {
    spec,
    model: await read(spec.model),
    tokenizer: await read(spec.tokenizer),
    tokenizerConfig: await read(spec.tokenizer_config),
  },
  JSON.parse((await read('calibration-texts.json')).toString()),
);
const file = join(PACKAGE_ROOT, 'model/q8-fixed-scales.recipe.json');
await writeFile(file, `${JSON.stringify(recipe)}\n`);
process.stdout.write(`${file}: result sha256 ${recipe.result.sha256}\n`);
