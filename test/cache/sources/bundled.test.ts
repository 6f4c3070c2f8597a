import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createBundledSource } from '../../../src/cache/sources/bundled.js';
import { type Content, pin, sizeOf, sliceOf } from '../../support/content.js';
import { LFS_POINTER } from '../../support/origin-fault.js';
import { collect, faultOf, fetchOne, wanted } from './collect.js';
import { describeSource } from './contract.js';

async function folderOf(files: Readonly<Record<string, Content>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bundled-'));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), sliceOf(content, 0, sizeOf(content)));
  }
  return folder;
}

describeSource(
  'a bundled folder',
  async (files) => {
    const folder = await folderOf(files);
    return {
      source: createBundledSource(folder),
      close: () => rm(folder, { recursive: true, force: true }),
    };
  },
  { missing: 'error', resumes: true },
);

describe('a bundled folder', () => {
  const bytes = Buffer.from('the model');
  const model = pin('onnx/model.onnx', bytes);

  async function folder(files: Readonly<Record<string, Content>> = {}): Promise<string> {
    const path = await folderOf(files);
    onTestFinished(() => rm(path, { recursive: true, force: true }));
    return path;
  }
  const faultIn = (path: string) => faultOf(collect(createBundledSource(path), wanted(model)));

  it('may itself be a symbolic link', async () => {
    const real = await folder({ 'onnx/model.onnx': bytes });
    const link = join(await folder(), 'link');
    await symlink(real, link);
    expect((await fetchOne(createBundledSource(link), model)).bytes.equals(bytes)).toBe(true);
  });

  it('refuses a symbolic link in the place of a file', async () => {
    const path = await folder({ 'onnx/other.onnx': bytes });
    await symlink('other.onnx', join(path, 'onnx/model.onnx'));
    expect(await faultIn(path)).toMatchObject({ code: 'source_wrong_bytes', retryable: false });
  });

  it('refuses a symbolic link in the place of a folder', async () => {
    const outside = await folder({ 'model.onnx': bytes });
    const path = await folder();
    await symlink(outside, join(path, 'onnx'));
    expect((await faultIn(path)).message).toContain('not a regular file');
  });

  it('refuses a folder in the place of a file', async () => {
    const path = await folder({ 'onnx/model.onnx/inner': bytes });
    expect((await faultIn(path)).code).toBe('source_wrong_bytes');
  });

  it('refuses a FIFO in the place of a file, without waiting for a writer', async () => {
    const path = await folder({ 'onnx/other': bytes });
    execFileSync('mkfifo', [join(path, 'onnx/model.onnx')]);
    // Opened as a file, it would wait for its writer for ever.
    expect((await faultIn(path)).code).toBe('source_wrong_bytes');
  });

  it('says that a file is a Git LFS pointer', async () => {
    const path = await folder({ 'onnx/model.onnx': Buffer.from(LFS_POINTER) });
    expect((await faultIn(path)).message).toContain('Git LFS pointer');
  });

  it('says that a folder is not there', async () => {
    expect((await faultIn(join(await folder(), 'nowhere'))).code).toBe('source_not_found');
  });
});
