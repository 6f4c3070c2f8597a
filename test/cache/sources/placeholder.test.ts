import { describe, expect, it } from 'vitest';
import { generated } from '../../support/content.js';
import type { Fault } from '../../support/origin.js';
import { faultOf, never } from './collect.js';
import { content, file, PATH, SIZE, useServer } from './server.js';

const server = useServer();

describe('a file that is not the pinned one', () => {
  it('is named when it is a Git LFS pointer', async () => {
    server.origin.faultAlways(PATH, { kind: 'lfs-pointer' });
    expect(await server.fail()).toMatchObject({
      code: 'source_wrong_bytes',
      message: expect.stringContaining('Git LFS pointer'),
      retryable: false,
    });
    expect(server.origin.requests).toHaveLength(1);
  });

  const page = Buffer.from(`\n<!doctype html><html>${' '.repeat(SIZE)}`);
  it.each<[string, Fault]>([
    ['by its type', { kind: 'html' }],
    ['by its first bytes', { kind: 'replace', content: page.subarray(0, 400) }],
    ['of the very same size', { kind: 'replace', content: page.subarray(0, SIZE) }],
    ['without a length', { kind: 'replace', content: page.subarray(0, 400), framing: 'close' }],
  ])('is named when it is a web page (%s)', async (_, fault) => {
    server.origin.faultAlways(PATH, fault);
    expect(await server.fail()).toMatchObject({
      code: 'source_wrong_bytes',
      message: expect.stringContaining('HTML page'),
    });
  });

  it('is named when it is shorter', async () => {
    server.origin.faultAlways(PATH, { kind: 'replace', content: content.subarray(0, 1_000) });
    expect(await server.fail()).toMatchObject({
      code: 'source_wrong_bytes',
      message: expect.stringContaining('1000 bytes, pinned are 300000'),
    });
  });

  it('is refused before its body when it is announced as longer', async () => {
    const longer = generated(50_000_000);
    server.origin.faultAlways(PATH, { kind: 'replace', content: longer });
    expect(await server.fail()).toMatchObject({ code: 'source_too_large', retryable: false });
    expect(server.origin.requests).toHaveLength(1);
    expect(server.origin.requests[0]?.bytesSent).toBeLessThan(10_000_000);
  });

  it.each(['chunked', 'close'] as const)('is left when it has no end (%s)', async (framing) => {
    server.origin.faultAlways(PATH, { kind: 'endless', framing });
    const source = server.source();
    let count = 0;
    const fault = await faultOf(
      (async () => {
        for await (const { bytes } of source.deliver([{ file, offset: 0 }], never)) {
          for await (const piece of bytes) count += piece.length;
        }
      })(),
    );
    expect(fault.code).toBe('source_too_large');
    expect(count).toBeLessThanOrEqual(SIZE);
  });

  it('is refused when it is compressed', async () => {
    server.origin.faultAlways(PATH, { kind: 'encoded' });
    expect(await server.fail()).toMatchObject({
      code: 'source_wrong_bytes',
      message: expect.stringContaining('Content-Encoding'),
    });
  });

  it.each(['chunked', 'close'] as const)('is taken without an announced length (%s)', async (framing) => {
    server.origin.faultAlways(PATH, { kind: 'frame', framing });
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
  });

  it('is complete when only its end mark is missing', async () => {
    server.origin.faultAlways(PATH, { kind: 'cut', afterBytes: SIZE, framing: 'chunked' });
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
    expect(server.origin.requests).toHaveLength(1);
  });
});
