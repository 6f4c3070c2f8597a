import { randomBytes } from 'node:crypto';
import { type Manifest, parseManifest } from '../../src/cache/manifest.js';
import type { Source } from '../../src/cache/source.js';
import { pin } from './content.js';

/**
 * A small model that cannot be loaded: random bytes under the usual names, and the manifest that pins them.
 * @param bytesOf where the bytes come from, so that a seed may make them
 */
export function smallModel(
  modelBytes = 300_000,
  bytesOf: (length: number) => Buffer = randomBytes,
): { manifest: Manifest; files: Map<string, Buffer> } {
  const files = new Map([
    ['onnx/model.onnx', bytesOf(modelBytes)],
    ['tokenizer.json', bytesOf(5_000)],
    ['tokenizer_config.json', bytesOf(100)],
  ]);
  const manifest = {
    schema: 1,
    repo: 'test/small',
    revision: 'a'.repeat(40),
    variant: 'q8',
    license: 'Apache-2.0',
    files: [...files].map(([path, bytes]) => pin(path, bytes)),
    embedding: {
      model: 'onnx/model.onnx',
      tokenizer: 'tokenizer.json',
      tokenizer_config: 'tokenizer_config.json',
      dimension: 4,
      max_tokens: 16,
      pooling: 'mean',
      normalize: true,
      batch_sensitive: true,
    },
    canary: {
      min_cosine: 0.9,
      cases: [{ text: 'a', embedding: Buffer.from(new Float32Array(4).buffer).toString('base64') }],
    },
  };
  return { manifest: parseManifest(JSON.stringify(manifest), 'test manifest'), files };
}

/** A source that serves from memory, for tests in which the way of the bytes does not matter. It counts. */
export function memorySource(
  files: ReadonlyMap<string, Uint8Array>,
  options: { name?: string; chunkBytes?: number } = {},
): Source & { delivered: string[] } {
  const delivered: string[] = [];
  const chunkBytes = options.chunkBytes ?? 65_536;
  return {
    name: options.name ?? 'memory',
    concurrency: 2,
    delivered,
    async *deliver(wanted) {
      for (const { file, offset } of wanted) {
        const bytes = files.get(file.path);
        if (!bytes) continue;
        delivered.push(file.path);
        async function* chunks(from: Uint8Array) {
          for (let at = offset; at < from.length; at += chunkBytes) yield from.subarray(at, at + chunkBytes);
        }
        yield { file, offset, bytes: chunks(bytes) };
      }
    },
  };
}
