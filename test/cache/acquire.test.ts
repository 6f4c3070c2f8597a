import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { acquire, fetchIntoMemory, type SourceFailure } from '../../src/cache/acquire.js';
import { partialPath } from '../../src/cache/layout.js';
import type { Source } from '../../src/cache/source.js';
import { ContentStore } from '../../src/cache/store.js';
import { AppError } from '../../src/shared/errors.js';
import { memorySource, smallModel, temporaryFolder } from '../support/volume.js';

const never = new AbortController().signal;

function failing(name: string, error: AppError): Source {
  return {
    name,
    concurrency: 2,
    // biome-ignore lint/correctness/useYield: it fails before it delivers
    async *deliver() {
      throw error;
    },
  };
}

async function setup() {
  const { manifest, files } = smallModel();
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  const seen = { failures: [] as SourceFailure[], committed: [] as string[] };
  const run = (sources: Source[], signal = never) =>
    acquire(
      store,
      sources,
      manifest.files,
      {
        progress: () => undefined,
        committed: (file) => void seen.committed.push(file.path),
        failed: (failure) => void seen.failures.push(failure),
      },
      signal,
    );
  const states = () => Promise.all(manifest.files.map(async (file) => (await store.verify(file)).state));
  return { manifest, files, store, seen, run, states };
}

describe('acquire', () => {
  it('takes each file from the first source that delivers it', async () => {
    const { files, seen, run, states } = await setup();
    const [model] = [...files.keys()];
    const first = memorySource(new Map([...files].filter(([path]) => path !== model)), { name: 'first' });
    const second = memorySource(files, { name: 'second' });
    await run([first, second]);
    expect(await states()).toEqual(['verified', 'verified', 'verified']);
    expect(second.delivered).toEqual([model]);
    expect(seen.failures).toMatchObject([{ source: 'first', path: model, code: 'source_not_found' }]);
  });

  it('names every reason when no source delivers', async () => {
    const { run } = await setup();
    const promise = run([
      failing('mirror a', new AppError('source_unauthorized', 'needs a token')),
      failing('hub', new AppError('source_rate_limited', 'slow down', { retryAfterMs: 7_000 })),
    ]);
    await expect(promise).rejects.toMatchObject({
      code: 'sources_exhausted',
      retryable: true,
      retryAfterMs: 7_000,
    });
    await expect(promise).rejects.toThrow(
      /the 3 missing files: mirror a: needs a token; hub: slow down; open the way to one, /,
    );
  });

  it('names a fault once that a source has for every file', async () => {
    const { run } = await setup();
    const gone: Source = {
      ...failing('mirror m.example', new AppError('source_not_found', '')),
      // biome-ignore lint/correctness/useYield: it fails before it delivers
      async *deliver([wanted]) {
        const path = wanted?.file.path;
        throw new AppError('source_not_found', `${path} from https://m.example/${path}: answered 404`);
      },
    };
    await expect(run([gone])).rejects.toThrow('mirror m.example: answered 404 (3 files); open the way');
  });

  it('passes over a source with wrong bytes and publishes nothing of it', async () => {
    const { files, store, seen, run, states } = await setup();
    const wrong = new Map([...files].map(([path, bytes]) => [path, randomBytes(bytes.length)]));
    await expect(run([memorySource(wrong)])).rejects.toMatchObject({ code: 'sources_exhausted' });
    expect(await states()).toEqual(['missing', 'missing', 'missing']);
    expect(await readdir(store.layout.ingest)).toEqual([]);
    expect(seen.failures.map(({ code }) => code)).toEqual(Array(3).fill('source_wrong_bytes'));
    await run([memorySource(wrong), memorySource(files)]);
    expect(await states()).toEqual(['verified', 'verified', 'verified']);
  });

  it('does not blame a source for the rotten partial of an earlier attempt', async () => {
    const { manifest, files, store, seen, run, states } = await setup();
    const model = manifest.files[0];
    if (!model) throw new Error('no model');
    const first = await store.ingest(model, never);
    await first.write(randomBytes(100_000));
    await first.close();
    await run([memorySource(files)]);
    expect(await states()).toEqual(['verified', 'verified', 'verified']);
    expect(seen.failures).toEqual([]);
  });

  it('goes on where another source stopped', async () => {
    const { files, run, states } = await setup();
    const offsets: number[] = [];
    const cut: Source = {
      name: 'cut',
      concurrency: 1,
      async *deliver(wanted) {
        for (const { file, offset } of wanted) {
          const bytes = files.get(file.path) ?? Buffer.alloc(0);
          async function* half() {
            yield bytes.subarray(0, bytes.length / 2);
            throw new AppError('source_stalled', 'stalled', { retryable: true });
          }
          yield { file, offset, bytes: half() };
        }
      },
    };
    const rest = memorySource(files);
    const watched: Source = {
      ...rest,
      deliver(wanted, signal) {
        offsets.push(...wanted.map(({ offset }) => offset));
        return rest.deliver(wanted, signal);
      },
    };
    await run([cut, watched]);
    expect(await states()).toEqual(['verified', 'verified', 'verified']);
    expect(offsets.sort((a, b) => a - b)).toEqual([50, 2_500, 150_000]);
  });

  it('stops when told to, and keeps the partial', async () => {
    const { files, store, run } = await setup();
    const controller = new AbortController();
    const slow: Source = {
      name: 'slow',
      concurrency: 1,
      async *deliver([wanted]) {
        if (!wanted) return;
        const bytes = files.get(wanted.file.path) ?? Buffer.alloc(0);
        async function* some() {
          yield bytes.subarray(0, 50);
          controller.abort();
          throw new AppError('aborted', 'stopped');
        }
        yield { file: wanted.file, offset: wanted.offset, bytes: some() };
      },
    };
    await expect(run([slow], controller.signal)).rejects.toMatchObject({ code: 'aborted' });
    expect((await readdir(store.layout.ingest)).length).toBeGreaterThan(0);
  });

  it('takes all that an archive holds in one call', async () => {
    const { files, run, states } = await setup();
    let calls = 0;
    const inner = memorySource(files);
    await run([
      {
        ...inner,
        name: 'archive',
        atOnce: true,
        deliver(wanted, signal) {
          calls += 1;
          return inner.deliver(wanted, signal);
        },
      },
    ]);
    expect(calls).toBe(1);
    expect(await states()).toEqual(['verified', 'verified', 'verified']);
  });

  it('writes nothing where there is no room', async () => {
    const { manifest, store, files } = await setup();
    const huge = manifest.files.map((file) => ({ ...file, size: 2 ** 49 }));
    const quiet = { progress: () => undefined, committed: () => undefined, failed: () => undefined };
    const source = memorySource(files);
    await expect(acquire(store, [source], huge, quiet, never)).rejects.toMatchObject({ code: 'volume_full' });
    expect(source.delivered).toEqual([]);
  });

  it('leaves a stranger’s partial name alone', async () => {
    const { store, files, run, manifest } = await setup();
    const theirs = partialPath(store.layout, manifest.files[0]?.sha256 ?? '', 'elsewhere-9-9');
    await writeFile(theirs, 'x');
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 300);
    await expect(run([memorySource(files)], controller.signal)).rejects.toMatchObject({ code: 'aborted' });
    expect(await readdir(store.layout.ingest)).toContain(`${manifest.files[0]?.sha256}.elsewhere-9-9.part`);
  });
});

describe('fetchIntoMemory', () => {
  it('takes each file from the first source that delivers the pinned bytes', async () => {
    const { manifest, files } = smallModel();
    const wrong = new Map([...files].map(([path, bytes]) => [path, randomBytes(bytes.length)]));
    const found = await fetchIntoMemory([memorySource(wrong), memorySource(files)], manifest.files, never);
    for (const [path, bytes] of files) expect(found.get(path)?.equals(bytes)).toBe(true);
  });

  it('takes an archive in one call', async () => {
    const { manifest, files } = smallModel();
    const archive = { ...memorySource(files), atOnce: true as const };
    expect((await fetchIntoMemory([archive], manifest.files, never)).size).toBe(files.size);
  });

  it('names every reason', async () => {
    const { manifest, files } = smallModel();
    const short = new Map([...files].map(([path, bytes]) => [path, bytes.subarray(1)]));
    const long = new Map([...files].map(([path, bytes]) => [path, Buffer.concat([bytes, Buffer.of(0)])]));
    const sources = [memorySource(short, { name: 'short' }), memorySource(long, { name: 'long' })];
    await expect(fetchIntoMemory(sources, manifest.files, never)).rejects.toThrow(
      /short: .*of \d+ bytes[\s\S]*long: .*more than/,
    );
    await expect(fetchIntoMemory([], manifest.files, never)).rejects.toMatchObject({
      code: 'sources_exhausted',
    });
  });
});
