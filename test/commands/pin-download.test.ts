import { readFile } from 'node:fs/promises';
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/cache/sources/http-client.js';
import { WIRE_DEFAULTS } from '../../src/cache/sources/retry.js';
import { parseBaseUrl } from '../../src/cache/sources/url.js';
import { download } from '../../src/commands/pin/origins.js';
import { generated, sha256Of, sliceOf } from '../support/content.js';
import { Origin } from '../support/origin.js';
import { temporaryFolder } from '../support/volume.js';

const content = sliceOf(generated(300_000), 0, 300_000);

it.each(['length', 'chunked'] as const)(
  'goes on where a download of unknown digest broke off (end told by %s)',
  async (framing) => {
    const origin = await Origin.start();
    const limits = { ...WIRE_DEFAULTS, backoffBaseMs: 10 };
    const client = new HttpClient(parseBaseUrl(origin.url), limits);
    onTestFinished(async () => {
      await client.close();
      await origin.close();
    });
    origin.put('/model.onnx', content);
    origin.fault('/model.onnx', { kind: 'cut', afterBytes: 150_000, framing });
    const staging = await temporaryFolder();
    const seen: number[] = [];
    const downloader = {
      ...{ client, limits, staging, source: 'origin', signal: new AbortController().signal },
      onProgress: (_: string, bytes: number) => seen.push(bytes),
    };
    const file = await download(downloader, new URL('/model.onnx', origin.url), 'onnx/model.onnx', {});
    expect(file).toMatchObject({ size: 300_000, sha256: sha256Of(content) });
    expect(sha256Of(await readFile(file?.location ?? ''))).toBe(sha256Of(content));
    expect(origin.requests.map(({ headers }) => headers.range)).toEqual([
      undefined,
      expect.stringMatching(/^bytes=[1-9]\d*-$/),
    ]);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  },
);
