import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

// Files that come with the program. Both src/ and dist/, where the bundle runs, lie in the package's folder.

/** The folder that holds `package.json`, `model/` and `routes/`. */
export const PACKAGE_ROOT = packageRoot(fileURLToPath(import.meta.url));

function packageRoot(path: string): string {
  const folder = dirname(path);
  if (folder === path) throw new Error('package.json of ai-router is missing beside its code');
  return existsSync(join(folder, 'package.json')) ? folder : packageRoot(folder);
}

/** The folder of the built page that `GET /` shows. */
export const PAGE_FOLDER = resolve(PACKAGE_ROOT, 'dist/page');

/** The folder of the built viewer that `GET /docs` shows. */
export const VIEWER_FOLDER = resolve(PACKAGE_ROOT, 'dist/docs');

/**
 * The variants of the model whose manifests come with the program: q8 with fixed activation scales, the hub's q8 graph
 * as it stands, and full precision.
 */
export const VARIANTS = ['q8', 'q8-dynamic', 'fp32'] as const;

/** A variant of the built-in model. */
export type Variant = (typeof VARIANTS)[number];

export function builtInManifest(variant: Variant): string {
  return resolve(PACKAGE_ROOT, variant === 'q8' ? 'model/manifest.json' : `model/manifest.${variant}.json`);
}

/** Where the vectors of the background texts by the built-in model of a variant are. */
export function backgroundFile(variant: Variant): string {
  return resolve(PACKAGE_ROOT, `model/background.${variant}.bin`);
}

/** Texts on which activation scales are measured: a JSON array. */
export const CALIBRATION_TEXTS = resolve(PACKAGE_ROOT, 'model/calibration-texts.json');

/** The multiplication of matrices that the build assembles of `src/scoring/kernel.wat`. */
export const KERNEL_FILE = resolve(PACKAGE_ROOT, 'dist/kernel.wasm');
