import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { TarReader } from '../../../src/cache/sources/tar.js';
import { generated } from '../../support/content.js';
import { type TarInput, tar } from '../../support/tar.js';
import { faultOf } from './collect.js';

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

interface Listed {
  path: string;
  isFile: boolean;
  content: Buffer;
}

async function list(archive: Uint8Array, pieceSize = 65_536): Promise<Listed[]> {
  const reader = new TarReader(inPieces(archive, pieceSize), {
    maxBytes: 600_000_000,
    place: 'archive',
    mayBeCut: false,
  });
  const entries: Listed[] = [];
  for (let entry = await reader.next(); entry; entry = await reader.next()) {
    const pieces: Uint8Array[] = [];
    for (let piece = await reader.read(); piece; piece = await reader.read()) pieces.push(piece);
    entries.push({ path: entry.path, isFile: entry.isFile, content: Buffer.concat(pieces) });
  }
  return entries;
}

const LONG = `${'folder/'.repeat(18)}${'n'.repeat(60)}.onnx`;
const content = Buffer.from(generated(70_000).slice(0, 70_000));

describe('a tar reader', () => {
  it.each([1, 7, 511, 512, 513, 65_536])('does not care how the bytes come (%i at a time)', async (size) => {
    const archive = tar([{ path: 'a', content: content.subarray(0, 1_000) }, { path: 'b' }]);
    const entries = await list(archive, size);
    expect(entries.map(({ path, content: { length } }) => [path, length])).toEqual([
      ['a', 1_000],
      ['b', 0],
    ]);
    expect(entries[0]?.content.equals(content.subarray(0, 1_000))).toBe(true);
  });

  it.each<TarInput['longPath'] & string>(['gnu', 'pax', 'ustar'])(
    'reads long paths (%s)',
    async (longPath) => {
      const path = longPath === 'ustar' ? `${'f'.repeat(90)}/${'n'.repeat(60)}` : LONG;
      const entries = await list(tar([{ path, content, longPath }, { path: 'next' }]));
      expect(entries.map((entry) => entry.path)).toEqual([path, 'next']);
      expect(entries[0]?.content.equals(content)).toBe(true);
    },
  );

  it('takes a size from a PAX record', async () => {
    const archive = tar([
      { path: 'a', content, size: 0, pax: { size: String(content.length) } },
      { path: 'b' },
    ]);
    expect((await list(archive)).map((entry) => entry.content.length)).toEqual([content.length, 0]);
  });

  it.each(['1', '2', '3', '4', '5', '6', 'S', 'Z'])('calls type %s no regular file', async (type) => {
    const [entry] = await list(tar([{ path: 'a', type, link: '/etc/passwd' }]));
    expect(entry?.isFile).toBe(false);
  });

  it('calls a name with a slash at its end no regular file', async () => {
    expect((await list(tar([{ path: 'a/' }])))[0]?.isFile).toBe(false);
  });

  it('refuses what is no archive', async () => {
    expect((await faultOf(list(content))).code).toBe('source_wrong_bytes');
  });

  it('refuses a damaged header', async () => {
    const archive = tar([{ path: 'a', content }, { path: 'b' }]);
    archive[512 + 70_144 + 3] = 1;
    expect((await faultOf(list(archive))).code).toBe('source_wrong_bytes');
  });

  it.each([100, 600, 40_000])('names an archive that ends after %i bytes', async (length) => {
    const archive = tar([{ path: 'a', content }]).subarray(0, length);
    expect((await faultOf(list(archive))).code).toBe('source_truncated');
  });

  it('does not read a name of any length into memory', async () => {
    const archive = tar([{ path: 'x', type: 'x', size: 500_000_000 }], false);
    expect((await faultOf(list(archive))).code).toBe('source_wrong_bytes');
  });

  it.each(['12 path=a\n', '-5 path=a\n', '0 path=a\n', ' \n', '999 path=a\n', 'path'])(
    'comes to an end with the PAX record %j',
    async (record) => {
      const archive = tar([{ path: 'x', type: 'x', content: Buffer.from(record) }, { path: 'file' }]);
      expect(await list(archive)).toHaveLength(1);
    },
  );

  const hasTar = (() => {
    try {
      return execFileSync('tar', ['--version'], { encoding: 'utf8' }).includes('GNU tar');
    } catch {
      return false;
    }
  })();
  it.skipIf(!hasTar).each(['v7', 'oldgnu', 'gnu', 'ustar', 'pax'])(
    'reads what GNU tar writes (needs GNU tar; --format=%s)',
    async (format) => {
      const folder = mkdtempSync(join(tmpdir(), 'tar-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const long = format === 'v7' ? 'model.onnx' : `${'f'.repeat(90)}/${'n'.repeat(60)}`;
      mkdirSync(join(folder, dirname(long)), { recursive: true });
      writeFileSync(join(folder, long), content);
      writeFileSync(join(folder, 'config.json'), '{}');
      symlinkSync('config.json', join(folder, 'link'));
      const archive = execFileSync('tar', ['-c', `--format=${format}`, '-C', folder, '.'], {
        maxBuffer: 10_000_000,
      });
      const entries = await list(archive);
      const files = Object.fromEntries(
        entries.filter(({ isFile }) => isFile).map((entry) => [entry.path, entry.content]),
      );
      expect(Object.keys(files).sort()).toEqual([`./${long}`, './config.json'].sort());
      expect(files[`./${long}`]?.equals(content)).toBe(true);
    },
  );
});
