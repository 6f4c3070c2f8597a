import { describe, expect, it } from 'vitest';
import type { Fault, Framing } from '../../support/origin.js';
import { faultOf, never, SILENT_ONCE } from './collect.js';
import { content, file, PATH, SIZE, useServer } from './server.js';

const server = useServer();

const ranges = () => server.origin.requests.map(({ headers }) => headers.range);

describe('an interrupted download', () => {
  const framings: Framing[] = ['length', 'chunked', 'close'];

  it.each(framings)('resumes after a cut (end told by %s)', async (framing) => {
    server.origin.fault(PATH, { kind: 'cut', afterBytes: 150_000, framing });
    const { offset, bytes } = await server.fetch();
    expect(offset).toBe(0);
    expect(bytes.equals(content)).toBe(true);
    expect(ranges()).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
    expect(server.events).toMatchObject([{ kind: 'retry', file: 'onnx/model.onnx', attempt: 1 }]);
  });

  it.each(framings)('resumes after a reset and a stall (end told by %s)', async (framing) => {
    server.origin.fault(
      PATH,
      { kind: 'cut', afterBytes: 100_000, framing, reset: true },
      { kind: 'stall', afterBytes: 100_000, framing },
    );
    expect((await server.fetch(SILENT_ONCE)).bytes.equals(content)).toBe(true);
    expect(server.events.map(({ code }) => code)).toEqual(['source_truncated', 'source_stalled']);
  });

  it('starts where an earlier life ended', async () => {
    const { offset, bytes } = await server.fetch({}, 100_000);
    expect(offset).toBe(100_000);
    expect(bytes.equals(content.subarray(100_000))).toBe(true);
    expect(ranges()).toEqual(['bytes=100000-']);
  });

  it('asks for the rest of the same version only', async () => {
    server.origin.fault(PATH, { kind: 'cut', afterBytes: 150_000 });
    await server.fetch();
    expect(server.origin.requests[1]?.headers['if-range']).toBe(`"${file.sha256}"`);
  });

  it('does not build on a weak ETag', async () => {
    server.origin.put(PATH, content, { etag: 'W/"weak"' });
    server.origin.fault(PATH, { kind: 'cut', afterBytes: 150_000 });
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
    expect(server.origin.requests[1]?.headers['if-range']).toBeUndefined();
    expect(ranges()[1]).toMatch(/^bytes=/);
  });

  it('begins at 0 where the server ignores a range', async () => {
    server.origin.fault(PATH, { kind: 'ignore-range' });
    const { offset, bytes } = await server.fetch({}, 100_000);
    expect(offset).toBe(0);
    expect(bytes.equals(content)).toBe(true);
  });

  it('passes over what was delivered, where the server ignores the range in the middle', async () => {
    server.origin.fault(PATH, { kind: 'cut', afterBytes: 150_000 }, { kind: 'ignore-range' });
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
    expect(server.origin.requests).toHaveLength(2);
  });

  it('passes over what was delivered, after a start in the middle', async () => {
    server.origin.fault(PATH, { kind: 'cut', afterBytes: 50_000 }, { kind: 'ignore-range' });
    const { offset, bytes } = await server.fetch({}, 100_000);
    expect(offset).toBe(100_000);
    expect(bytes.equals(content.subarray(100_000))).toBe(true);
  });

  it('goes on from a copy of the same file with another ETag', async () => {
    server.origin.fault(
      PATH,
      { kind: 'cut', afterBytes: 150_000 },
      { kind: 'headers', headers: { etag: '"another machine"' } },
    );
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
    // The 206 of another version is not taken; the whole file is read again.
    expect(ranges()).toEqual([undefined, expect.any(String), undefined]);
  });

  it.each<[string, Fault]>([
    ['another start', { kind: 'wrong-range', contentRange: `bytes 7-${SIZE - 1}/${SIZE}` }],
    ['no range at all', { kind: 'wrong-range' }],
    ['an end beyond the file', { kind: 'wrong-range', contentRange: `bytes 100000-${SIZE}/*` }],
  ])('does not take a 206 with %s', async (_, fault) => {
    server.origin.fault(PATH, fault);
    const { offset, bytes } = await server.fetch({}, 100_000);
    expect(offset).toBe(0);
    expect(bytes.equals(content)).toBe(true);
    expect(ranges()).toEqual(['bytes=100000-', undefined]);
  });

  it('does not take a 206 without having asked for a range', async () => {
    server.origin.faultAlways(PATH, { kind: 'wrong-range', contentRange: `bytes 0-${SIZE - 1}/${SIZE}` });
    expect((await server.fail()).code).toBe('source_refused');
  });

  it('names a file of another size when a range lies beyond it', async () => {
    server.origin.put(PATH, content.subarray(0, 50_000));
    const fault = await faultOf(server.fetch({}, 100_000));
    expect(fault.code).toBe('source_wrong_bytes');
    expect(fault.message).toContain('50000 bytes');
  });

  it('begins at 0 where the server refuses all ranges with 416', async () => {
    server.origin.fault(PATH, { kind: 'status', status: 416 });
    expect((await server.fetch({}, 100_000)).offset).toBe(0);
  });

  it('asks for nothing when all bytes are there already', async () => {
    expect((await server.fetch({}, SIZE)).bytes).toHaveLength(0);
    expect(server.origin.requests).toHaveLength(0);
  });

  it('may be interrupted as often as it makes progress', async () => {
    const cuts = Array.from({ length: 5 }, (): Fault => ({ kind: 'cut', afterBytes: 50_000 }));
    server.origin.fault(PATH, ...cuts);
    expect((await server.fetch({ progressBytes: 10_000 })).bytes.equals(content)).toBe(true);
    expect(server.events.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1, 1]);
  });

  it('is given up without progress, as truncated', async () => {
    server.origin.faultAlways(PATH, { kind: 'cut', afterBytes: 0, framing: 'close' });
    expect(await server.fail()).toMatchObject({ code: 'source_truncated', retryable: true });
    expect(server.origin.requests).toHaveLength(3);
    expect(server.events).toHaveLength(2);
  });
});

describe('a slow reader', () => {
  // An HTTP client once took the whole process down when a connection ended while its reader paused.
  it.each<[Framing, boolean]>([
    ['length', false],
    ['chunked', false],
    ['close', false],
    ['length', true],
    ['chunked', true],
    ['close', true],
  ])('gets the whole file though the connection ends early (%s, cut: %s)', async (framing, isCut) => {
    server.origin.fault(
      PATH,
      isCut ? { kind: 'cut', afterBytes: SIZE - 1, framing } : { kind: 'frame', framing },
    );
    server.origin.put(PATH, content, { headers: { connection: 'close' } });
    const pieces: Uint8Array[] = [];
    for await (const { bytes } of server.source().deliver([{ file, offset: 0 }], never)) {
      for await (const piece of bytes) {
        pieces.push(piece);
        if (pieces.length < 3) await new Promise((resolve) => setTimeout(resolve, 80));
      }
    }
    expect(Buffer.concat(pieces).equals(content)).toBe(true);
    expect(server.origin.requests).toHaveLength(isCut ? 2 : 1);
  });
});
