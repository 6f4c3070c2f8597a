/**
 * `npm run build`: the program as a few files in dist/. A boot reads and compiles these instead of a thousand
 * modules, which takes half as long. Types are `npm run check`'s affair.
 */
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { build } from 'esbuild';
import initWabt from 'wabt';

/**
 * Modules that packages import and this program never calls. The browser's runtime and the images of the tokenizers'
 * package alone take 80 ms to load, in every worker; bodies are read as bytes, so that no table of old
 * encodings is needed.
 */
const UNUSED = ['onnxruntime-web', 'sharp', 'iconv-lite'];

const withoutUnused = {
  name: 'without-unused',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^(${UNUSED.join('|')})$`) }, ({ path }) => ({
      path,
      namespace: 'unused',
    }));
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'export default {};', loader: 'js' }));
  },
};

/**
 * Contents of packages that this program never uses and every boot would read: zod's messages in fifty
 * languages, of which a schema takes English by itself, and the media types that have no file name's ending and no
 * charset, which are never looked up. A third of what the daemon would compile.
 */
const withoutUnread = {
  name: 'without-unread',
  setup({ onLoad }) {
    onLoad({ filter: /[/\\]zod[/\\]v4[/\\]locales[/\\]index\.js$/ }, () => ({
      contents: "export { default as en } from './en.js';",
      loader: 'js',
    }));
    onLoad({ filter: /[/\\]mime-db[/\\]db\.json$/ }, async ({ path }) => {
      const types = Object.entries(JSON.parse(await readFile(path, 'utf8')));
      const read = types.filter(([, { extensions, charset }]) => extensions?.length > 0 || charset);
      // A string of JSON is read in half of the time that an object of the language takes.
      const json = JSON.stringify(JSON.stringify(Object.fromEntries(read)));
      return { contents: `module.exports = JSON.parse(${json});`, loader: 'js' };
    });
  },
};

await rm('dist', { recursive: true, force: true });
const program = await build({
  // Beside each other, since modules find the other processes' and threads' entries relative to themselves.
  entryPoints: {
    main: 'src/main.ts',
    'inference-worker': 'src/inference/entry.ts',
    'head-worker': 'src/scoring/head/head-worker.ts',
    'draft-worker': 'src/routes/draft-worker.ts',
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'none',
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 200,
  logLevel: 'warning',
  // Native. All else is in the bundle: `dependencies` of package.json are what stays outside, and nothing more.
  external: ['onnxruntime-node'],
  metafile: true,
  plugins: [withoutUnused, withoutUnread],
  // Packages in the older module format ask for Node's own modules with `require`.
  banner: {
    js: "import { createRequire as createRequireOf } from 'node:module'; const require = createRequireOf(import.meta.url);",
  },
});

// Multiplies the vectors of routes and texts (src/scoring/row-matrix.ts).
const wabt = await initWabt();
const kernel = wabt.parseWat('kernel.wat', await readFile('src/scoring/kernel.wat', 'utf8'), { simd: true });
await writeFile('dist/kernel.wasm', kernel.toBinary({}).buffer);

// The client package: one file for Node and browsers. tsc writes its types.
await build({
  entryPoints: ['packages/client/src/index.ts'],
  outdir: 'packages/client/dist',
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
});
await build({
  entryPoints: ['src/page/main.ts'],
  outdir: 'dist/page',
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  minify: true,
  logLevel: 'warning',
});
for (const name of ['index.html', 'page.css', 'parts.css', 'icon.svg'])
  await cp(`src/page/${name}`, `dist/page/${name}`);

// The viewer of `GET /docs`: a page of our own, and two files of its package.
const VIEWER = 'node_modules/swagger-ui-dist';
for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js'])
  await cp(`${VIEWER}/${name}`, `dist/docs/${name}`);
await cp('src/page/docs.html', 'dist/docs/index.html');
await cp('src/page/docs-start.js', 'dist/docs/start.js');

// The packages that are in the bundle, and those that it imports.
const folders = new Set([VIEWER]);
for (const input of Object.keys(program.metafile.inputs)) {
  const [folder] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input) ?? [];
  if (folder) folders.add(folder);
}
const bundled = await Promise.all(
  [...folders].sort().map(async (folder) => {
    const { name, version, license } = JSON.parse(await readFile(`${folder}/package.json`, 'utf8'));
    return { name, version, license, folder };
  }),
);
const imports = Object.values(program.metafile.outputs).flatMap((output) => output.imports);
const imported = imports.filter(({ external, path }) => external && !isBuiltin(path)).map(({ path }) => path);
const packages = {
  bundled: bundled.map(({ name, version, license }) => ({ name, version, license })),
  external: [...new Set(imported)],
};
await writeFile('dist/packages.json', JSON.stringify(packages, undefined, 2));

// Licenses ask to go along with every copy.
const notices = bundled.map(async ({ name, version, license, folder }) => {
  const file = (await readdir(folder)).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  const text = file
    ? await readFile(`${folder}/${file}`, 'utf8')
    : 'Its package holds no text of the license.';
  return `${name} ${version} (${license})\n\n${text.trimEnd()}\n`;
});
await writeFile('dist/THIRD-PARTY.txt', (await Promise.all(notices)).join(`\n${'-'.repeat(80)}\n\n`));
