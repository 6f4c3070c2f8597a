/** The worker of `bare.ts`: one text after the other. */
import { loadPlainEmbedder } from './plain-embedder.js';

/** What it answers to a text. */
export interface FromBareWorker {
  readonly vector: Float32Array;
}

const embed = await loadPlainEmbedder();

let last: Promise<void> = Promise.resolve();
process.on('message', (text: string) => {
  last = last.then(async () => {
    process.send?.({ vector: await embed(text) } satisfies FromBareWorker);
  });
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
