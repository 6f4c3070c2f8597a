import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { startDaemon } from '../support/daemon.js';
import { smallModel, temporaryFolder, writeTree } from '../support/volume.js';
import { manifestFile, run, runJson } from './program.js';

const { manifest, files } = smallModel();
const [weights] = manifest.files;
if (!weights) throw new Error('the small model has weights');

interface FilesReport {
  whole: boolean;
  files: { path: string; state: string; reason: string | null; source?: string | null }[];
}

/** A volume that `pull` filled. */
async function filled(): Promise<{ volume: string; env: Record<string, string> }> {
  const volume = await temporaryFolder();
  const bundled = await temporaryFolder();
  await writeTree(bundled, files);
  const env = {
    MODEL_CACHE_DIR: volume,
    MODEL_MANIFEST: await manifestFile(manifest),
    MODEL_SOURCES: 'bundled',
    MODEL_BUNDLED_DIR: bundled,
  };
  expect((await run(['pull'], env)).code).toBe(0);
  return { volume, env };
}

/** Changes bytes in the middle of the weights, leaving the size. */
async function rot(volume: string): Promise<void> {
  const path = blobPath(layoutOf(volume), weights?.sha256 ?? '');
  await chmod(path, 0o644);
  await writeFile(path, Buffer.alloc(weights?.size ?? 0, 7));
}

describe('verify', () => {
  it('ends with 0 on a whole volume', async () => {
    const { env } = await filled();
    const { code, stdout } = await run(['verify'], env);
    expect(code).toBe(0);
    expect(stdout).toMatch(/onnx\/model\.onnx +300\.0 kB +verified/);
  });

  it('ends with 1 when bytes rotted, says which, and leaves them', async () => {
    const { volume, env } = await filled();
    await rot(volume);
    const { code, report } = await runJson<FilesReport>(['verify'], env);
    expect(code).toBe(1);
    expect(report.files.map(({ state }) => state)).toEqual(['corrupt', 'verified', 'verified']);
    expect(report.files[0]?.reason).toMatch(/^sha256 is /);
    expect(await readdir(layoutOf(volume).quarantine)).toEqual([]);
  });

  it('ends with 1 when a file is missing, and fetches nothing', async () => {
    const { volume, env } = await filled();
    await rm(blobPath(layoutOf(volume), weights.sha256));
    const { code, stdout } = await run(['verify'], env);
    expect(code).toBe(1);
    expect(stdout).toMatch(/onnx\/model\.onnx .*missing/);
    expect((await run(['verify'], env)).code).toBe(1);
  });

  it('writes nothing to a folder that is not there', async () => {
    const folder = join(await temporaryFolder(), 'none');
    expect((await run(['verify', '--cache-dir', folder])).code).toBe(1);
    await expect(readdir(folder)).rejects.toThrow('ENOENT');
  });

  it('repairs with --repair', async () => {
    const { volume, env } = await filled();
    await rot(volume);
    const { code, report } = await runJson<FilesReport & { repaired: string[] }>(['verify', '--repair'], env);
    expect(code).toBe(0);
    expect(report).toMatchObject({ whole: true, repaired: ['onnx/model.onnx'] });
    expect(await readdir(layoutOf(volume).quarantine)).toHaveLength(2);
    expect((await run(['verify'], env)).code).toBe(0);
  });
});

describe('status', () => {
  it('shows what a folder holds, and where it came from', async () => {
    const { volume, env } = await filled();
    await rot(volume);
    const { code, report } = await runJson<FilesReport>(['status', volume], env);
    expect(code).toBe(1);
    expect(report).toMatchObject({ whole: false, volume: { path: volume, writable: true } });
    expect(report.files[1]).toMatchObject({ state: 'verified', source: 'bundled' });
    expect((await run(['status', volume], env)).stdout).toMatch(/NOT whole/);
  });

  it('asks a running daemon by its URL', async () => {
    const { env } = await filled();
    const daemon = await startDaemon({ ...env });
    const { code, report } = await runJson<FilesReport>(['status', daemon.url]);
    expect(report.files.map(({ path }) => path)).toEqual(manifest.files.map(({ path }) => path));
    expect(code).toBe(report.whole ? 0 : 1);
    expect((await run(['status', daemon.url])).stdout).toContain('test/small@aaaaaaaaaaaa (q8)');
  });

  it('knows an address without its scheme from a folder', async () => {
    const { code, stderr } = await run(['status', '127.0.0.1:5210']);
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean http://127.0.0.1:5210?');
  });

  it('ends with 1 when no daemon answers', async () => {
    const { code, stderr } = await run(['status', 'http://127.0.0.1:9/']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ai-router status: http:\/\/127\.0\.0\.1:9: /);
  });
});
