/**
 * The baseline: Koa and the library's pipeline as one writes it in an afternoon. It classifies by the nearest
 * utterance of the same routes.
 */
import { readFileSync } from 'node:fs';
import { env, pipeline } from '@xenova/transformers';
import { parseRouteSet } from '../../src/routes/parse.js';
import { servePlainly } from './plain-server.js';

env.allowRemoteModels = false;
env.localModelPath = `${process.cwd()}/`;
const extract = await pipeline('feature-extraction', 'model', { quantized: true });
const embed = async (text: string): Promise<Float32Array> => {
  const output = await extract(text, { pooling: 'mean', normalize: true });
  return output.data as Float32Array;
};
const { routes } = parseRouteSet(readFileSync('routes/default.yaml', 'utf8'), { origin: 'default.yaml' });
const known: { route: string; vector: Float32Array }[] = [];
for (const { name, utterances } of routes) {
  for (const utterance of utterances) known.push({ route: name, vector: await embed(utterance) });
}

servePlainly(async (text) => {
  const vector = await embed(text);
  let best = { route: '', score: -1 };
  for (const { route, vector: other } of known) {
    const score = other.reduce((sum, value, index) => sum + value * (vector[index] ?? 0), 0);
    if (score > best.score) best = { route, score };
  }
  return best;
});
