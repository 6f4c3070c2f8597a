import { chmod, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { smallModel, temporaryFolder, writeTree } from '../support/volume.js';
import { manifestFile, run, runJson, start } from './program.js';

const { manifest, files } = smallModel();

interface DrillReport {
  ok: boolean;
  original_untouched: boolean;
  sandbox: string;
  exercises: {
    name: string;
    ok: boolean;
    detected: boolean;
    quarantined: boolean | null;
    repaired: boolean;
    sources: string[];
    reason: string | null;
  }[];
  error?: { code: string; message: string };
}

/** A volume that `pull` filled, in a folder of its own, and the folder that it was filled from. */
async function filled() {
  const folder = await temporaryFolder();
  const bundled = await temporaryFolder();
  await writeTree(bundled, files);
  const env = {
    MODEL_CACHE_DIR: join(folder, 'volume'),
    MODEL_MANIFEST: await manifestFile(manifest),
    MODEL_SOURCES: 'bundled',
    MODEL_BUNDLED_DIR: bundled,
  };
  expect((await run(['pull'], env)).code).toBe(0);
  const dates = async () =>
    Promise.all(
      manifest.files.map(async ({ sha256 }) => {
        const { mtimeMs, ctimeMs, ino, nlink } = await stat(blobPath(layoutOf(env.MODEL_CACHE_DIR), sha256));
        return { mtimeMs, ctimeMs, ino, nlink };
      }),
    );
  return { folder, bundled, env, dates };
}

describe('drill', () => {
  it('proves on a copy that everything is found and repaired, and touches nothing of the original', async () => {
    const { folder, env, dates } = await filled();
    const before = await dates();
    const { code, report } = await runJson<DrillReport>(['drill'], env);
    expect(code).toBe(0);
    expect(report).toMatchObject({ ok: true, original_untouched: true });
    expect(dirname(dirname(report.sandbox))).toBe(folder);
    expect(report.exercises.length).toBeGreaterThanOrEqual(6);
    for (const exercise of report.exercises) {
      expect(exercise).toMatchObject({ ok: true, detected: true, repaired: true, sources: ['bundled'] });
    }
    expect(report.exercises.map(({ quarantined }) => quarantined)).toEqual([
      true,
      true,
      true,
      null,
      true,
      null,
    ]);
    expect(await dates()).toEqual(before);
    expect(await readdir(folder)).toEqual(['volume']);
    expect(await readdir(join(folder, 'volume', 'quarantine'))).toEqual([]);
  });

  it('prints a table for people, and takes the volume and the sandbox as flags', async () => {
    const { env } = await filled();
    const { MODEL_CACHE_DIR, ...rest } = env;
    const sandbox = await temporaryFolder();
    const args = ['drill', '--volume', MODEL_CACHE_DIR, '--sandbox', sandbox];
    const { code, stdout, stderr } = await run(args, rest);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toMatch(
      /one bit flipped +onnx\/model\.onnx +corrupt: sha256 is [0-9a-f]{8}… +yes +bundled/,
    );
    expect(stdout).toMatch(/6 of 6 faults were found and repaired/);
    expect(stdout).toMatch(/is as it was/);
    expect(await readdir(sandbox)).toEqual([]);
  });

  it('ends with 1 and the reason when no source can repair', async () => {
    const { folder, bundled, env } = await filled();
    await rm(bundled, { recursive: true });
    const { code, report } = await runJson<DrillReport>(['drill'], env);
    expect(code).toBe(1);
    expect(report).toMatchObject({ ok: false, original_untouched: true });
    expect(report.exercises[0]).toMatchObject({ detected: true, quarantined: true, repaired: false });
    expect(report.exercises[0]?.reason).toMatch(/bundled/);
    expect(await readdir(folder)).toEqual(['volume']);
  });

  it('refuses a volume that is not whole, and says what to do', async () => {
    const { folder, env } = await filled();
    const blob = blobPath(layoutOf(env.MODEL_CACHE_DIR), manifest.files[0]?.sha256 ?? '');
    await chmod(blob, 0o644);
    await writeFile(blob, 'rot');
    const { code, report } = await runJson<DrillReport>(['drill'], env);
    expect(code).toBe(1);
    expect(report.error).toMatchObject({ code: 'blob_corrupt', message: expect.stringMatching(/--repair/) });
    expect(await readdir(folder)).toEqual(['volume']);
  });

  it('refuses a sandbox that is nowhere, and a limit that is none', async () => {
    const { env } = await filled();
    expect((await run(['drill', '--sandbox', '/nonexistent/place'], env)).code).toBe(1);
    expect((await run(['drill', '--within', 'soon'], env)).code).toBe(2);
  });

  it('removes the copy when it is stopped', async () => {
    const { folder, env } = await filled();
    const running = start(['drill'], env);
    for (let waited = 0; waited < 200; waited += 1) {
      if ((await readdir(folder)).length > 1) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    running.child.kill('SIGTERM');
    const { code } = await running.ended();
    expect([0, 143]).toContain(code);
    expect(await readdir(folder)).toEqual(['volume']);
  });
});
