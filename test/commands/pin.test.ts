import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { parseRecipe } from '../../src/inference/recipe.js';
import { startHub } from '../support/hub-origin.js';
import { cosine } from '../support/model.js';
import { Origin } from '../support/origin.js';
import type { Ended } from '../support/run.js';
import { temporaryFolder } from '../support/volume.js';
import { run, runJson } from './program.js';

const MODEL = resolve('model');
const COMMIT = '48a5a372879ed2ed147ab84836e345977276d9b2';
const REPO = 'Xenova/all-MiniLM-L6-v2';
const PATHS = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'onnx/model_quantized.onnx',
];
/** Files that sentence-transformers writes beside a model. */
const FACTS = {
  'modules.json': '[{"idx":0,"type":"sentence_transformers.models.Transformer"}]',
  'sentence_bert_config.json': '{"max_seq_length": 256, "do_lower_case": false}',
  '1_Pooling/config.json':
    '{"word_embedding_dimension": 384, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}',
};

interface PinReport {
  digest: string;
  manifest: { revision: string; license: string; embedding: object };
  facts: Record<string, { value: unknown; from: string }>;
}

async function modelFiles(): Promise<Record<string, Buffer>> {
  return Object.fromEntries(
    await Promise.all(PATHS.map(async (path) => [path, await readFile(join(MODEL, path))] as const)),
  );
}

describe('pin, from a local folder', () => {
  const args = ['pin', `${REPO}@${COMMIT}`, '--from', MODEL, '--max-tokens', '256'];

  it('gives the built-in manifest of q8-dynamic', async () => {
    const out = join(await temporaryFolder(), 'manifest.json');
    const flags = ['--model', 'onnx/model_quantized.onnx', '--variant', 'q8-dynamic'];
    const { code, stdout, stderr } = await run([...args, ...flags, '--license', 'Apache-2.0', '--out', out]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const [made, builtIn] = [
      await loadManifest(out),
      await loadManifest(join(MODEL, 'manifest.q8-dynamic.json')),
    ];
    expect(made.digest).toBe(builtIn.digest);
    expect(stdout).toContain(builtIn.digest);
    expect({ ...made, canary: builtIn.canary }).toEqual(builtIn);
    expectSameAnswers(made, builtIn);
  });

  it('fixes activation scales: the built-in recipe of q8, up to what processors round otherwise', async () => {
    const out = join(await temporaryFolder(), 'q8-fixed-scales.json');
    const { code, stderr } = await run([...args, '--fixed-scales', '--license', 'Apache-2.0', '--out', out]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const [made, builtIn] = [await loadManifest(out), await loadManifest(join(MODEL, 'manifest.json'))];
    const ofAnyProcessor = { digest: '', recipe: undefined, recipeText: '', canary: builtIn.canary };
    expect({ ...made, ...ofAnyProcessor }).toEqual({ ...builtIn, ...ofAnyProcessor });
    expectSameAnswers(made, builtIn);
    const [recipe, known] = [made, builtIn].map(({ recipeText = '' }) => parseRecipe(recipeText));
    expect(recipe?.source).toEqual(known?.source);
    expect(recipe?.result.size).toBe(known?.result.size);
    expect(recipe?.pieces.length).toBe(known?.pieces.length);
  }, 120_000);

  it('refuses fixed scales without a file for the manifest', async () => {
    const args = ['pin', `${REPO}@${COMMIT}`, '--from', MODEL, '--fixed-scales'];
    expect(await run(args)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--fixed-scales needs --out'),
    });
  });

  it('prints the manifest where no file is named, and takes facts and texts from flags', async () => {
    const args = ['pin', `${REPO}@${COMMIT}`, '--from', MODEL, '--pooling', 'cls', '--normalize', 'false'];
    const { code, stdout } = await run([...args, '--canary', 'only this', '--min-cosine', '0.5']);
    expect(code).toBe(0);
    const manifest = JSON.parse(stdout);
    expect(manifest).toMatchObject({
      license: 'unknown',
      embedding: { pooling: 'cls', normalize: false, max_tokens: 512, dimension: 384 },
      canary: { min_cosine: 0.5, cases: [{ text: 'only this' }] },
    });
  });

  it('reads what sentence-transformers says of a model, and follows the links of a hub cache', async () => {
    const folder = await temporaryFolder();
    for (const path of PATHS) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await symlink(join(MODEL, path), join(folder, path));
    }
    for (const [path, text] of Object.entries(FACTS)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    const { code, report } = await runJson<PinReport>(['pin', `${REPO}@${COMMIT}`, '--from', folder]);
    expect(code).toBe(0);
    expect(report.facts).toEqual({
      dimension: { value: 384, from: '1_Pooling/config.json' },
      max_tokens: { value: 256, from: 'sentence_bert_config.json' },
      pooling: { value: 'cls', from: '1_Pooling/config.json' },
      normalize: { value: false, from: 'modules.json' },
    });
  });

  it.each<[string, string[], number, RegExp]>([
    [
      'weights that are not there',
      ['--variant', 'fp32'],
      1,
      /has no onnx\/model\.onnx; it has onnx\/model_q/,
    ],
    ['a wrong dimension', ['--dimension', '768'], 1, /output is float32 \[1,\d+,384\]/],
    ['a pooling that it lacks', ['--pooling', 'max'], 2, /--pooling must be mean or cls/],
    ['a number that is none', ['--max-tokens', 'x'], 2, /--max-tokens must be a number/],
  ])('refuses %s', async (_, flags, code, message) => {
    const ended: Ended = await run(['pin', `${REPO}@${COMMIT}`, '--from', MODEL, ...flags]);
    expect(ended.code).toBe(code);
    expect(ended.stderr).toMatch(message);
  });

  it('refuses a branch, which a folder cannot resolve, and an operand of another shape', async () => {
    expect(await run(['pin', `${REPO}@main`, '--from', MODEL])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/full commit hash/),
    });
    expect((await run(['pin', 'MiniLM'])).code).toBe(2);
  });
});

describe('pin, from the network', () => {
  it('resolves a branch by the hub API, and downloads each of its files', async () => {
    const files = { ...(await modelFiles()), ...buffers(FACTS) };
    const hub = await startHub({ files, repo: REPO, revision: COMMIT });
    onTestFinished(() => hub.close());
    const { endpoint } = hub;
    const api = `/api/models/${REPO}`;
    const siblings = Object.entries(files).map(([rfilename, { length: size }]) => ({ rfilename, size }));
    const body = { sha: COMMIT, tags: ['license:apache-2.0'], siblings };
    endpoint.put(`${api}/revision/main`, Buffer.from(JSON.stringify(body)));

    const out = join(await temporaryFolder(), 'manifest.json');
    const { code, report, stderr } = await runJson<PinReport>(['pin', `${REPO}@main`, '--out', out], {
      HF_ENDPOINT: endpoint.url,
      HF_TOKEN: 'hf_secret',
      HF_HUB_OFFLINE: '0',
    });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(report.manifest).toMatchObject({
      revision: COMMIT,
      license: 'apache-2.0',
      embedding: { pooling: 'cls', max_tokens: 256, normalize: false },
    });
    expect(report.digest).toBe((await loadManifest(join(MODEL, 'manifest.q8-dynamic.json'))).digest);
    expect(endpoint.requests.every(({ headers }) => headers.authorization === 'Bearer hf_secret')).toBe(true);
    expect(hub.cdn.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it('asks a plain mirror for each file by its usual name', async () => {
    const origin = await Origin.start();
    onTestFinished(() => origin.close());
    for (const [path, bytes] of Object.entries(await modelFiles())) origin.put(`/minilm/${path}`, bytes);
    const from = `${origin.url}/minilm`;
    const { code, report } = await runJson<PinReport>(['pin', `${REPO}@${COMMIT}`, '--from', from]);
    expect(code).toBe(0);
    expect(report.digest).toBe((await loadManifest(join(MODEL, 'manifest.q8-dynamic.json'))).digest);
    expect(await run(['pin', `${REPO}@main`, '--from', from])).toMatchObject({ code: 2 });
  });

  it('believes no announcement: a file that differs from it is refused', async () => {
    const files = await modelFiles();
    const origin = await Origin.start();
    onTestFinished(() => origin.close());
    const api = `/api/models/${REPO}`;
    const siblings = Object.entries(files).map(([rfilename, { length: size }]) => ({
      rfilename,
      size,
      ...(rfilename === 'tokenizer.json' && { lfs: { sha256: 'f'.repeat(64), size } }),
    }));
    origin.put(`${api}/revision/${COMMIT}`, Buffer.from(JSON.stringify({ sha: COMMIT, siblings })));
    for (const [path, bytes] of Object.entries(files))
      origin.put(`/${REPO}/resolve/${COMMIT}/${path}`, bytes);
    const { code, stderr } = await run(['pin', `${REPO}@${COMMIT}`, '--from', origin.url]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/tokenizer\.json .*announced f{64}/);
  });

  it('does not ask the hub when that is forbidden', async () => {
    expect(await run(['pin', `${REPO}@main`])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/HF_HUB_OFFLINE/),
    });
  });
});

function expectSameAnswers(made: Manifest, builtIn: Manifest): void {
  for (const [index, { text, embedding }] of made.canary.cases.entries()) {
    const known = builtIn.canary.cases[index];
    expect(text).toBe(known?.text);
    expect(cosine(vectorOf(embedding), vectorOf(known?.embedding ?? ''))).toBeGreaterThan(0.99);
  }
}

function vectorOf(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
}

function buffers(texts: Readonly<Record<string, string>>): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(texts).map(([path, text]) => [path, Buffer.from(text)]));
}
