import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, join, relative, resolve } from 'node:path';
import type { Ignore } from '@balena/dockerignore';

// Its types promise a default export that its CommonJS module does not have.
const ignore = createRequire(import.meta.url)('@balena/dockerignore') as () => Ignore;

interface Instruction {
  readonly keyword: string;
  readonly text: string;
}

/** A stage, or the image if it is the last one. */
export interface Stage {
  /** The folder that stands for `/`. */
  readonly root: string;
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
}

/** The instructions of a Dockerfile, without comments, each on one line. */
export function parseDockerfile(text: string): Instruction[] {
  const lines = text.split('\n').filter((line) => !/^\s*(#|$)/.test(line));
  return lines
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .map((line) => {
      const [, keyword = '', rest = ''] = /^\s*(\S+)\s+(.*)$/.exec(line) ?? [];
      return { keyword: keyword.toUpperCase(), text: rest.trim() };
    });
}

/** Replaces `$NAME`, `${NAME}` and `${NAME:+word}`. */
export function expand(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$(?:(\w+)|\{(\w+)(?::\+([^}]*))?\})/g, (_, plain, name, word) => {
    const value = values[plain ?? name] ?? '';
    if (word === undefined) return value;
    return value === '' ? '' : word;
  });
}

/**
 * Does what a builder does with a Dockerfile, in folders of this machine: each stage begins with an empty folder, gets
 * exactly the files that its COPY lines name, less those that .dockerignore hides, and runs its RUN lines in it. The
 * base image is this machine. Stages that are the same for other build arguments are kept.
 */
export class DockerfileReplay {
  readonly #context: string;
  readonly #folder: string;
  readonly #done = new Map<string, Stage>();

  constructor(context: string, folder: string) {
    this.#context = context;
    this.#folder = folder;
  }

  /** Builds all stages and returns the last one. */
  async build(buildArgs: Readonly<Record<string, string>> = {}): Promise<Stage> {
    const instructions = parseDockerfile(await readFile(join(this.#context, 'Dockerfile'), 'utf8'));
    const starts = instructions.flatMap(({ keyword }, index) => (keyword === 'FROM' ? [index] : []));
    const stages = new Map<string, Stage>();
    let last: Stage | undefined;
    for (const [index, start] of starts.entries()) {
      const name = / AS (\S+)$/i.exec(instructions[start]?.text ?? '')?.[1] ?? 'image';
      const body = instructions.slice(start + 1, starts[index + 1]);
      const uses = body.some(
        ({ keyword, text }) =>
          keyword === 'ARG' &&
          text.split('=')[0] !== undefined &&
          Object.hasOwn(buildArgs, text.split('=')[0] ?? ''),
      );
      const key = `${name} ${uses || name === 'image' ? JSON.stringify(buildArgs) : ''}`;
      last = this.#done.get(key) ?? (await this.#stage(name, body, buildArgs, stages));
      this.#done.set(key, last);
      stages.set(name, last);
    }
    if (!last) throw new Error('the Dockerfile has no stage');
    return last;
  }

  async #stage(
    name: string,
    body: readonly Instruction[],
    buildArgs: Readonly<Record<string, string>>,
    stages: ReadonlyMap<string, Stage>,
  ): Promise<Stage> {
    const root = await mkdtemp(join(this.#folder, `${name}-`));
    const args: Record<string, string> = {};
    const env: Record<string, string> = {};
    let workdir = '/';
    let entrypoint: readonly string[] = [];
    let cmd: readonly string[] = [];
    for (const { keyword, text } of body) {
      switch (keyword) {
        case 'ARG': {
          const [key = '', value = ''] = text.split('=');
          args[key] = buildArgs[key] ?? value;
          break;
        }
        case 'ENV':
          for (const [, key = '', value = ''] of text.matchAll(/(\w+)=(\S*)/g)) {
            env[key] = expand(value, { ...args, ...env });
          }
          break;
        case 'WORKDIR':
          workdir = resolve(workdir, text);
          await mkdir(join(root, workdir), { recursive: true });
          break;
        case 'COPY':
          await this.#copy(text.split(/\s+/), join(root, workdir), root, stages);
          break;
        case 'RUN':
          await this.#run(text, join(root, workdir), { ...args, ...env });
          break;
        case 'ENTRYPOINT':
          entrypoint = JSON.parse(text);
          break;
        case 'CMD':
          cmd = JSON.parse(text);
          break;
        case 'EXPOSE':
        case 'STOPSIGNAL':
        case 'HEALTHCHECK':
          break;
        default:
          throw new Error(`the replay does not know ${keyword}`);
      }
    }
    return { root, workdir, env, entrypoint, cmd };
  }

  async #copy(
    words: readonly string[],
    cwd: string,
    root: string,
    stages: ReadonlyMap<string, Stage>,
  ): Promise<void> {
    const options = words.filter((word) => word.startsWith('--'));
    const paths = words.filter((word) => !word.startsWith('--'));
    const target = paths.at(-1) ?? '';
    const to = target.startsWith('/') ? join(root, target) : resolve(cwd, target);
    const from = options[0]?.startsWith('--from=')
      ? stages.get(options[0].slice('--from='.length))
      : undefined;
    if (options.length > (from ? 1 : 0))
      throw new Error(`the replay does not know COPY ${options.join(' ')}`);
    const visible = from ? () => true : await this.#visible();
    for (const path of paths.slice(0, -1)) {
      const source = join(from?.root ?? this.#context, path);
      const isFolder = (await stat(source)).isDirectory();
      const into = isFolder || !target.endsWith('/') ? to : join(to, basename(path));
      if (from) {
        await mkdir(isFolder ? into : join(into, '..'), { recursive: true });
        // As builders do, hard links and symbolic links stay what they are.
        await execute('cp', ['-a', isFolder ? `${source}/.` : source, into], cwd, {});
      } else {
        let copied = 0;
        const filter = async (file: string): Promise<boolean> => {
          if ((await stat(file)).isDirectory()) return true;
          const seen = visible(relative(this.#context, file));
          if (seen) copied++;
          return seen;
        };
        await cp(source, into, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true, filter });
        if (copied === 0) throw new Error(`COPY ${path}: .dockerignore hides it`);
      }
    }
  }

  async #visible(): Promise<(path: string) => boolean> {
    const rules = ignore().add(await readFile(join(this.#context, '.dockerignore'), 'utf8'));
    return (path) => !rules.ignores(path);
  }

  async #run(script: string, cwd: string, env: Readonly<Record<string, string>>): Promise<void> {
    if (/(^|[\s="'])\//.test(script))
      throw new Error(`RUN ${script}: an absolute path is one of this machine`);
    // Only root may give files to others.
    const bin = join(this.#folder, 'bin');
    await mkdir(bin, { recursive: true });
    if (process.getuid?.() !== 0) await writeFile(join(bin, 'chown'), '#!/bin/sh\n', { mode: 0o755 });
    await execute('sh', ['-c', script], cwd, { ...env, PATH: `${bin}:${process.env.PATH}` });
  }
}

async function execute(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  // npm takes packages from its cache, and asks a registry only for what is not there.
  const own = { npm_config_prefer_offline: 'true', npm_config_audit: 'false', ...env };
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_)|NODE_ENV$)/.test(name),
  );
  const child = spawn(command, args, {
    cwd,
    env: { ...Object.fromEntries(inherited), ...own },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${said}`);
}

/** The regular files below a folder, with their inode and number of names. */
export async function filesBelow(folder: string): Promise<{ path: string; links: number; size: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(
    files.map(async (path) => {
      const { nlink, size } = await stat(path);
      return { path: relative(folder, path), links: nlink, size };
    }),
  );
}
