import { readFileSync } from 'node:fs';
import { parseManifest } from '../../src/cache/manifest.js';
import { createSession } from '../../src/inference/session.js';
import { createTokenizer, type Tokenizer } from '../../src/inference/tokenizer.js';

const { embedding } = parseManifest(readFileSync('model/manifest.json', 'utf8'), 'manifest.json');
const read = (path: string): Buffer => readFileSync(`model/${path}`);

/** The model's tokenizer. */
export function loadPlainTokenizer(): Tokenizer {
  return createTokenizer(read(embedding.tokenizer), read(embedding.tokenizer_config), embedding);
}

/** Loads the model into this process: tokenizer and session, and nothing else of a worker. */
export async function loadPlainEmbedder(): Promise<(text: string) => Promise<Float32Array>> {
  const tokenizer = loadPlainTokenizer();
  const session = await createSession(read(embedding.model), embedding);
  return async (text) => {
    const [vector = new Float32Array()] = await session.embed([tokenizer.encode(text).ids]);
    return vector;
  };
}
