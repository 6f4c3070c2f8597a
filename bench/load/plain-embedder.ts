import { readFileSync } from 'node:fs';
import { parseManifest } from '../../src/cache/manifest.js';
import { createSession } from '../../src/model/session.js';
import { createTokenizer } from '../../src/model/tokenizer.js';

/** Loads the model into this process: tokenizer and session, and nothing else of a worker. */
export async function loadPlainEmbedder(): Promise<(text: string) => Promise<Float32Array>> {
  const { embedding } = parseManifest(readFileSync('model/manifest.json', 'utf8'), 'manifest.json');
  const read = (path: string): Buffer => readFileSync(`model/${path}`);
  const tokenizer = createTokenizer(read(embedding.tokenizer), read(embedding.tokenizer_config), embedding);
  const session = await createSession(read(embedding.model), embedding);
  return async (text) => {
    const [vector = new Float32Array()] = await session.embed([tokenizer.encode(text).ids]);
    return vector;
  };
}
