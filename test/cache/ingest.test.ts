import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath, parseIngestName, partialPath } from '../../src/cache/layout.js';
import { OWNER, ownerState } from '../../src/cache/owner.js';
import { ContentStore } from '../../src/cache/store.js';
import { pin, temporaryFolder } from '../support/volume.js';

const never = new AbortController().signal;
const bytes = randomBytes(1_000_000);
const file = pin('model.onnx', bytes);

async function emptyStore(): Promise<ContentStore> {
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  return store;
}

/** The owner token of a process that has ended. */
async function deadOwner(): Promise<string> {
  const child = spawn(process.execPath, ['-e', '0']);
  await once(child, 'exit');
  return `${OWNER.split('-')[0]}-${child.pid}-1`;
}

describe('IngestWriter', () => {
  it('keeps an unfinished write and goes on with it', async () => {
    const store = await emptyStore();
    const first = await store.ingest(file, never);
    await first.write(bytes.subarray(0, 600_000));
    await expect(first.commit()).rejects.toMatchObject({ code: 'source_truncated', retryable: true });
    await first.close();
    expect(await store.verify(file)).toEqual({ state: 'missing' });

    const second = await store.ingest(file, never);
    expect(second.offset).toBe(600_000);
    await second.write(bytes.subarray(600_000));
    await second.commit();
    expect(await store.verify(file)).toMatchObject({ state: 'verified' });
    expect(await readdir(store.layout.ingest)).toEqual([]);
  });

  it('removes wrong bytes', async () => {
    const store = await emptyStore();
    const writer = await store.ingest(file, never);
    await writer.write(randomBytes(bytes.length));
    await expect(writer.commit()).rejects.toMatchObject({ code: 'source_wrong_bytes' });
    expect(await readdir(store.layout.ingest)).toEqual([]);
    expect(await store.verify(file)).toEqual({ state: 'missing' });
  });

  it('stops at the pinned size', async () => {
    const store = await emptyStore();
    const writer = await store.ingest(file, never);
    await writer.write(bytes);
    await expect(writer.write(Buffer.of(0))).rejects.toMatchObject({ code: 'source_too_large' });
    await writer.close();
  });

  it('starts again on request', async () => {
    const store = await emptyStore();
    const writer = await store.ingest(file, never);
    await writer.write(randomBytes(500_000));
    await writer.restart();
    await writer.write(bytes);
    await writer.commit();
    expect(await store.verify(file)).toMatchObject({ state: 'verified' });
  });

  it('lets two writers of one blob both succeed', async () => {
    const store = await emptyStore();
    const writers = await Promise.all([store.ingest(file, never), store.ingest(file, never)]);
    for (const writer of writers) await writer.write(bytes.subarray(0, 10));
    for (const writer of writers) await writer.write(bytes.subarray(10));
    for (const writer of writers) await writer.commit();
    expect(await store.verify(file)).toMatchObject({ state: 'verified' });
  });

  it('takes over the longest partial of dead owners and removes the others', async () => {
    const store = await emptyStore();
    const dead = await deadOwner();
    await writeFile(partialPath(store.layout, file.sha256, `${dead}-0`), bytes.subarray(0, 100));
    await writeFile(partialPath(store.layout, file.sha256, `${dead}-1`), bytes.subarray(0, 900));
    const writer = await store.ingest(file, never);
    expect(writer.offset).toBe(900);
    await writer.write(bytes.subarray(900));
    await writer.commit();
    expect(await readdir(store.layout.ingest)).toEqual([]);
  });

  it('leaves the partial of a living owner alone', async () => {
    const store = await emptyStore();
    const child = spawn('sleep', ['60']);
    try {
      const stats = (await import('node:fs')).readFileSync(`/proc/${child.pid}/stat`, 'utf8');
      const start = stats.slice(stats.lastIndexOf(')') + 2).split(' ')[19];
      const owner = `${OWNER.split('-')[0]}-${child.pid}-${start}`;
      expect(ownerState(owner)).toBe('alive');
      const theirs = partialPath(store.layout, file.sha256, owner);
      await writeFile(theirs, bytes.subarray(0, 100));
      const writer = await store.ingest(file, never);
      expect(writer.offset).toBe(0);
      await writer.discard();
      expect((await stat(theirs)).size).toBe(100);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('takes over a rested partial of an owner elsewhere', async () => {
    const store = await emptyStore();
    const theirs = partialPath(store.layout, file.sha256, 'elsewhere-1-1');
    await writeFile(theirs, bytes.subarray(0, 100));
    const minuteAgo = Date.now() / 1_000 - 60;
    await utimes(theirs, minuteAgo, minuteAgo);
    const writer = await store.ingest(file, never);
    expect(writer.offset).toBe(100);
    await writer.discard();
  });

  it('drops a partial that is longer than the blob', async () => {
    const store = await emptyStore();
    const dead = await deadOwner();
    await writeFile(partialPath(store.layout, file.sha256, dead), Buffer.alloc(bytes.length + 1));
    const writer = await store.ingest(file, never);
    expect(writer.offset).toBe(0);
    await writer.discard();
  });

  it('never shows a blob before commit', async () => {
    const store = await emptyStore();
    const writer = await store.ingest(file, never);
    await writer.write(bytes);
    expect(await store.verify(file)).toEqual({ state: 'missing' });
    await writer.commit();
    expect((await stat(blobPath(store.layout, file.sha256))).size).toBe(bytes.length);
  });
});

describe('names in the ingest folder', () => {
  it('tell subject and owner', () => {
    const path = partialPath({ ingest: 'i' } as Parameters<typeof partialPath>[0], 'ab', 'x-1-2-0');
    expect(path).toBe(join('i', 'ab.x-1-2-0.part'));
    expect(parseIngestName('ab.x-1-2-0.part')).toEqual({ kind: 'part', subject: 'ab', owner: 'x-1-2-0' });
    expect(parseIngestName('state.json.x-1-2.tmp')).toEqual({
      kind: 'tmp',
      subject: 'state.json',
      owner: 'x-1-2',
    });
    expect(parseIngestName('notes.txt')).toBeUndefined();
  });
});
