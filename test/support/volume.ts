import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Manifest, type PinnedFile, parseManifest } from '../../src/cache/manifest.js';
import type { Source } from '../../src/cache/source.js';

/** Pins bytes under a path. */
export function pin(path: string, bytes: Uint8Array): PinnedFile {
  return { path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** A fresh folder that goes away with the test, or with the suite where `atEnd` is `afterAll`. */
export async function temporaryFolder(
  atEnd: (remove: () => Promise<void>) => void = onTestFinished,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-test-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes files below a folder. */
export async function writeTree(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
}

/** A small model that nobody can load: random bytes under the usual names, and the manifest that pins them. */
export function smallModel(modelBytes = 300_000): { manifest: Manifest; files: Map<string, Buffer> } {
  const files = new Map([
    ['onnx/model.onnx', randomBytes(modelBytes)],
    ['tokenizer.json', randomBytes(5_000)],
    ['tokenizer_config.json', randomBytes(100)],
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

/** A log that keeps its lines for assertions. */
export function recordingLog() {
  const lines: { level: string; details: object; message: string }[] = [];
  const at = (level: string) => (details: object, message: string) => {
    lines.push({ level, details, message });
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
