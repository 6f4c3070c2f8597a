import type { PinnedFile } from '../manifest.js';
import type { TarEntry } from './tar-reader.js';

/**
 * Finds the wanted files among the entries of an archive. They lie at their pinned paths, or all below one common
 * folder, which the first of them tells. Everything else is passed over: links, devices, paths that leave the
 * archive, files of another size, second copies.
 */
export class ArchiveMatch {
  readonly #pending: Map<string, PinnedFile>;
  readonly #topFolders: ReadonlySet<string>;
  /** The common folder with its slash, or `''`; unknown until the first wanted file. */
  #root: string | undefined;
  /** Entries at a wanted path that had another size: pinned path → size found. */
  readonly otherSizes = new Map<string, number>();

  constructor(wanted: readonly PinnedFile[]) {
    this.#pending = new Map(wanted.map((file) => [file.path, file]));
    this.#topFolders = new Set(wanted.map(({ path }) => path.slice(0, path.indexOf('/') + 1)));
  }

  /** The files that no entry brought so far. */
  get pending(): readonly PinnedFile[] {
    return [...this.#pending.values()];
  }

  /** The pinned file that `entry` is, if it is one that is still wanted; it is not wanted twice. */
  take(entry: TarEntry): PinnedFile | undefined {
    const found = this.#find(entry);
    if (!found) return undefined;
    const { file, root } = found;
    if (entry.size !== file.size) {
      this.otherSizes.set(file.path, entry.size);
      return undefined;
    }
    this.#root = root;
    this.#pending.delete(file.path);
    this.otherSizes.delete(file.path);
    return file;
  }

  /** Whether `entry` is `file`, which was taken before: to find the place again in a second reading. */
  isSame(entry: TarEntry, file: PinnedFile): boolean {
    const path = plainPath(entry);
    return path === `${this.#root ?? ''}${file.path}` && entry.size === file.size;
  }

  #find(entry: TarEntry): { file: PinnedFile; root: string } | undefined {
    const path = plainPath(entry);
    if (path === undefined) return undefined;
    // A folder that the pinned paths themselves begin with is not a common one around them.
    const top = path.slice(0, path.indexOf('/') + 1);
    const roots = this.#root !== undefined ? [this.#root] : this.#topFolders.has(top) ? [''] : ['', top];
    for (const root of roots) {
      const file = path.startsWith(root) ? this.#pending.get(path.slice(root.length)) : undefined;
      if (file) return { file, root };
    }
    return undefined;
  }
}

/** An entry's path without a leading `./`; `undefined` for what is no regular file inside the archive. */
function plainPath({ path, isFile }: TarEntry): string | undefined {
  if (!isFile) return undefined;
  const inside = path.replace(/^(\.\/)+/, '');
  const isPlain = inside.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  return isPlain ? inside : undefined;
}
