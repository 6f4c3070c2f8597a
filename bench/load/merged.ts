/**
 * Koa and the model in the same process, one process per core, each with its share of the connections: no message between
 * processes, and a crash of the runtime ends what listens. What it does not reach of the raw limit is what Koa and the
 * client cost on this machine, however the rest is built.
 */
import cluster from 'node:cluster';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { loadPlainEmbedder } from './plain-embedder.js';
import { servePlainly } from './plain-server.js';

if (cluster.isPrimary) {
  const workers = Array.from({ length: availableParallelism() }, () => cluster.fork());
  cluster.on('exit', () => process.exit(1));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
} else {
  const embed = await loadPlainEmbedder();
  servePlainly(async (text) => ({ first: (await embed(text))[0] }));
}
