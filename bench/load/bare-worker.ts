/** The worker of `bare.ts`: tokenizer and session, one text after the other. */
import { readFileSync } from 'node:fs';
import { parseManifest } from '../../src/cache/manifest.js';
import { createSession } from '../../src/model/session.js';
import { createTokenizer } from '../../src/model/tokenizer.js';

/** What it answers to a text. */
export interface FromBareWorker {
  readonly vector: Float32Array;
}

const { embedding } = parseManifest(readFileSync('model/manifest.json', 'utf8'), 'manifest.json');
const read = (path: string): Buffer => readFileSync(`model/${path}`);
const tokenizer = createTokenizer(read(embedding.tokenizer), read(embedding.tokenizer_config), embedding);
const session = await createSession(read(embedding.model), embedding);

let last: Promise<void> = Promise.resolve();
process.on('message', (text: string) => {
  last = last.then(async () => {
    const [vector = new Float32Array()] = await session.embed([tokenizer.encode(text).ids]);
    process.send?.({ vector } satisfies FromBareWorker);
  });
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
