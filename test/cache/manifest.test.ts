import { copyFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadManifest, parseManifest } from '../../src/cache/manifest.js';
import { AppError } from '../../src/shared/errors.js';
import { pin, temporaryFolder } from '../support/volume.js';

const text = await readFile('model/manifest.json', 'utf8');
const { files, embedding } = JSON.parse(text);

/** The built-in manifest with one change. */
function changed(change: (manifest: ReturnType<typeof JSON.parse>) => void): string {
  const manifest = JSON.parse(text);
  change(manifest);
  return JSON.stringify(manifest);
}

function failureOf(json: string): AppError {
  try {
    parseManifest(json, 'm.json');
  } catch (error) {
    if (error instanceof AppError) return error;
  }
  throw new Error('was accepted');
}

function expectRefusal(change: Parameters<typeof changed>[0], message: RegExp): void {
  const error = failureOf(changed(change));
  expect(error.code).toBe('manifest_invalid');
  expect(error.message).toMatch(message);
  expect(error.message).toContain('m.json');
}

describe('the built-in manifest', () => {
  it('pins the bundled files as they are', async () => {
    const manifest = await loadManifest('model/manifest.json');
    expect(manifest.files).toHaveLength(5);
    for (const file of manifest.files) {
      const bytes = await readFile(`model/${file.path}`);
      expect(pin(file.path, bytes)).toEqual(file);
      expect((await stat(`model/${file.path}`)).size).toBe(file.size);
    }
  });

  it('has a digest that depends on the pinned bytes and the recipe alone', () => {
    const { digest } = parseManifest(text, 'm.json');
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(
      parseManifest(
        changed((m) => m.files.reverse()),
        'm.json',
      ).digest,
    ).toBe(digest);
    const other = changed((m) => {
      m.files[0].sha256 = '0'.repeat(64);
    });
    const without = changed((m) => {
      delete m.recipe;
    });
    const otherRecipe = changed((m) => {
      m.recipe.sha256 = '0'.repeat(64);
    });
    const digests = [other, without, otherRecipe].map((json) => parseManifest(json, 'm.json').digest);
    expect(new Set([digest, ...digests]).size).toBe(4);
  });
});

describe('a recipe that a manifest names', () => {
  it('is read from beside the manifest, and refused when it is another or missing', async () => {
    const folder = await temporaryFolder();
    const [path, recipe] = [join(folder, 'manifest.json'), join(folder, 'q8-fixed-scales.recipe.json')];
    await copyFile('model/manifest.json', path);
    await expect(loadManifest(path)).rejects.toThrow(/cannot read its recipe/);
    await copyFile('model/q8-fixed-scales.recipe.json', recipe);
    expect((await loadManifest(path)).recipeText).toBe(await readFile(recipe, 'utf8'));
    await writeFile(recipe, `${await readFile(recipe, 'utf8')} `);
    await expect(loadManifest(path)).rejects.toMatchObject({
      code: 'manifest_invalid',
      message: expect.stringMatching(/the sha256 of its recipe/),
    });
  });

  it.each(['../q8.recipe.json', '/etc/passwd', 'a/../../x', '.', '..\\x', 'a\0b', ''])(
    'is not looked for at %j',
    (path) => {
      const text = changed((m) => {
        m.recipe.path = path;
      });
      expect(() => parseManifest(text, 'm.json')).toThrow(/recipe\.path: must be a relative path/);
    },
  );
});

describe('a bad manifest is refused by name', () => {
  it.each<[string, object, RegExp]>([
    ['a path that climbs out', { path: '../config.json' }, /files\[0\]\.path: must be a relative path/],
    ['a path that climbs inside', { path: 'a/../../b' }, /files\[0\]\.path/],
    ['an absolute path', { path: '/etc/passwd' }, /files\[0\]\.path/],
    ['a backslash', { path: 'a\\b' }, /files\[0\]\.path/],
    ['an empty segment', { path: 'a//b' }, /files\[0\]\.path/],
    ['a path twice', { path: 'tokenizer.json' }, /"tokenizer.json" is listed twice/],
    ['paths that differ in case only', { path: 'Tokenizer.json' }, /listed twice/],
    ['a short digest', { sha256: 'abc' }, /files\[0\]\.sha256: must be 64/],
    ['upper-case digits', { sha256: 'A'.repeat(64) }, /files\[0\]\.sha256/],
    ['a negative size', { size: -1 }, /files\[0\]\.size/],
    ['a broken size', { size: 1.5 }, /files\[0\]\.size/],
    ['one digest with two sizes', { sha256: files[1].sha256 }, /one digest with two sizes/],
  ])('%s', (_, change, message) => expectRefusal((m) => Object.assign(m.files[0], change), message));

  it.each<[string, object, RegExp]>([
    ['no files', { files: [] }, /files/],
    ['a branch for a revision', { revision: 'main' }, /revision: must be a full commit hash/],
    [
      'a model file that is not pinned',
      { embedding: { ...embedding, model: 'other.onnx' } },
      /embedding\.model: names "other.onnx"/,
    ],
    [
      'a canary of another length',
      { embedding: { ...embedding, dimension: 3 } },
      /canary\.cases\[0\]\.embedding: must hold 3/,
    ],
    ['an unknown field', { extra: 1 }, /extra/],
    ['another schema', { schema: 2 }, /schema/],
  ])('%s', (_, change, message) => expectRefusal((m) => Object.assign(m, change), message));

  it('that is not JSON', () => {
    expect(failureOf('{').code).toBe('manifest_invalid');
  });

  it('with every fault at once', () => {
    const error = failureOf(
      changed((m) => {
        m.revision = 'main';
        m.files[0].size = 0;
      }),
    );
    expect(error.issues.map(({ path }) => path).sort()).toEqual(['files[0].size', 'revision']);
  });

  it('that cannot be read', async () => {
    await expect(loadManifest('no/such/manifest.json')).rejects.toMatchObject({ code: 'manifest_invalid' });
  });
});
