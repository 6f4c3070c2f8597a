import { copyFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadManifest, parseManifest } from '../../src/cache/manifest.js';
import { AppError } from '../../src/shared/errors.js';
import { pin, temporaryFolder } from '../support/volume.js';

const text = await readFile('model/manifest.json', 'utf8');

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
  it.each<[string, (m: ReturnType<typeof JSON.parse>) => void, RegExp]>([
    [
      'a path that climbs out',
      (m) => {
        m.files[0].path = '../config.json';
      },
      /files\[0\]\.path: must be a relative path/,
    ],
    [
      'a path that climbs inside',
      (m) => {
        m.files[0].path = 'a/../../b';
      },
      /files\[0\]\.path/,
    ],
    [
      'an absolute path',
      (m) => {
        m.files[0].path = '/etc/passwd';
      },
      /files\[0\]\.path/,
    ],
    [
      'a backslash',
      (m) => {
        m.files[0].path = 'a\\b';
      },
      /files\[0\]\.path/,
    ],
    [
      'an empty segment',
      (m) => {
        m.files[0].path = 'a//b';
      },
      /files\[0\]\.path/,
    ],
    [
      'a path twice',
      (m) => {
        m.files[0].path = 'tokenizer.json';
      },
      /"tokenizer.json" is listed twice/,
    ],
    [
      'paths that differ in case only',
      (m) => {
        m.files[0].path = 'Tokenizer.json';
      },
      /listed twice/,
    ],
    [
      'a short digest',
      (m) => {
        m.files[0].sha256 = 'abc';
      },
      /files\[0\]\.sha256: must be 64/,
    ],
    [
      'upper-case digits',
      (m) => {
        m.files[0].sha256 = 'A'.repeat(64);
      },
      /files\[0\]\.sha256/,
    ],
    [
      'a negative size',
      (m) => {
        m.files[0].size = -1;
      },
      /files\[0\]\.size/,
    ],
    [
      'a broken size',
      (m) => {
        m.files[0].size = 1.5;
      },
      /files\[0\]\.size/,
    ],
    [
      'one digest with two sizes',
      (m) => {
        m.files[0].sha256 = m.files[1].sha256;
      },
      /one digest with two sizes/,
    ],
    [
      'no files',
      (m) => {
        m.files = [];
      },
      /files/,
    ],
    [
      'a branch for a revision',
      (m) => {
        m.revision = 'main';
      },
      /revision: must be a full commit hash/,
    ],
    [
      'a model file that is not pinned',
      (m) => {
        m.embedding.model = 'other.onnx';
      },
      /embedding\.model: names "other.onnx"/,
    ],
    [
      'a canary of another length',
      (m) => {
        m.embedding.dimension = 3;
      },
      /canary\.cases\[0\]\.embedding: must hold 3/,
    ],
    [
      'an unknown field',
      (m) => {
        m.extra = 1;
      },
      /extra/,
    ],
    [
      'another schema',
      (m) => {
        m.schema = 2;
      },
      /schema/,
    ],
  ])('%s', (_, change, message) => {
    const error = failureOf(changed(change));
    expect(error.code).toBe('manifest_invalid');
    expect(error.message).toMatch(message);
    expect(error.message).toContain('m.json');
  });

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
