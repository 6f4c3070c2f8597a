import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A function on the stack, with everything that it called there. */
export interface Frame {
  readonly name: string;
  /** Path within the project, a package's name, `node`, or `native` for what is not JavaScript. */
  readonly source: string;
  /** Time in it and in what it called, in microseconds. */
  total: number;
  readonly children: Map<string, Frame>;
}

/** What `node --cpu-prof` writes. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
      readonly columnNumber: number;
    };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

/** Sums a profile up, without the time in which nothing was to be done. */
export function framesOf(file: string): Frame {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile;
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(
    profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)),
  );
  const names = new SourceNames();
  const stacks = new Map<number, Frame[]>();
  const root: Frame = { name: 'all', source: 'node', total: 0, children: new Map() };
  const stackOf = (id: number): Frame[] => {
    const known = stacks.get(id);
    if (known) return known;
    const node = nodes.get(id);
    const parent = parents.get(id);
    if (!node || parent === undefined) return [root];
    const above = stackOf(parent);
    const { name, source } = names.of(node.callFrame);
    const into = above.at(-1) as Frame;
    const key = `${name} ${source}`;
    const frame = into.children.get(key) ?? { name, source, total: 0, children: new Map() };
    into.children.set(key, frame);
    const stack = [...above, frame];
    stacks.set(id, stack);
    return stack;
  };
  for (const [index, id] of profile.samples.entries()) {
    if (nodes.get(id)?.callFrame.functionName === '(idle)') continue;
    for (const frame of stackOf(id)) frame.total += profile.timeDeltas[index] ?? 0;
  }
  return root;
}

/** Finds out where functions of the bundle come from. */
class SourceNames {
  readonly #maps = new Map<string, SourceMap>();

  of({ functionName, url, lineNumber, columnNumber }: Profile['nodes'][number]['callFrame']): {
    name: string;
    source: string;
  } {
    const name = functionName || '(anonymous)';
    if (url === '') return { name, source: 'native' };
    if (!url.startsWith('file:')) return { name, source: 'node' };
    const path = fileURLToPath(url);
    const original = /\/dist\/[^/]*$/.test(path) ? this.#original(path, lineNumber, columnNumber) : path;
    const [, ofPackage] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(original) ?? [];
    return { name, source: ofPackage ?? relative('.', original) };
  }

  #original(path: string, line: number, column: number): string {
    const map = this.#maps.get(path) ?? new SourceMap(JSON.parse(readFileSync(`${path}.map`, 'utf8')));
    this.#maps.set(path, map);
    const entry = map.findEntry(line, column);
    return 'originalSource' in entry ? resolve(dirname(path), entry.originalSource) : path;
  }
}
