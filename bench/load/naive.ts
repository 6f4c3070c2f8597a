/**
 * The baseline: Koa and the library's pipeline as one writes it in an afternoon. It classifies by the nearest
 * utterance of the same routes.
 */
import { readFileSync } from 'node:fs';
import { env, pipeline } from '@xenova/transformers';
import Koa from 'koa';
import rawBody from 'raw-body';
import { parseRouteSet } from '../../src/classify/routes.js';

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

const app = new Koa();
app.use(async (context) => {
  if (context.path === '/health') {
    context.body = { status: 'ready' };
    return;
  }
  const { text } = JSON.parse((await rawBody(context.req)).toString('utf8')) as { text: string };
  const vector = await embed(text);
  let best = { route: '', score: -1 };
  for (const { route, vector: other } of known) {
    const score = other.reduce((sum, value, index) => sum + value * (vector[index] ?? 0), 0);
    if (score > best.score) best = { route, score };
  }
  context.body = best;
});
const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('ready'));
process.on('disconnect', () => server.close(() => process.exit(0)));
