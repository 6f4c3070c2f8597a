import { describe, expect, it, onTestFinished } from 'vitest';
import { createMirrorSource } from '../../../src/cache/sources/files.js';
import { ENDLESS_MS, eventually } from '../../support/eventually.js';
import type { Fault } from '../../support/origin.js';
import { FAST, faultOf, fetchOne, IMPATIENT, never } from './collect.js';
import { file, PATH, SIZE, useServer } from './server.js';

const server = useServer();

describe('a slow server', () => {
  it.each([
    ['before the headers', undefined],
    ['after some bytes', 10_000],
  ])('that falls silent %s is left, as stalled', async (_, afterBytes) => {
    server.origin.faultAlways(PATH, { kind: 'stall', ...(afterBytes === undefined ? {} : { afterBytes }) });
    expect(await server.fail({ ...IMPATIENT, attempts: 2 })).toMatchObject({
      code: 'source_stalled',
      retryable: true,
    });
    expect(server.origin.requests).toHaveLength(2);
  });

  it('that drips is left, as stalled', async () => {
    server.origin.faultAlways(PATH, { kind: 'drip', bytesPerSecond: 20 });
    const fault = await server.fail({ attempts: 1, minBytesPerSecond: 1_000 });
    expect(fault.code).toBe('source_stalled');
    expect(fault.message).toContain('too slow');
  });

  it('that is just fast enough is not', async () => {
    server.origin.faultAlways(PATH, { kind: 'drip', bytesPerSecond: 600_000 });
    await server.fetch({ attempts: 1, minBytesPerSecond: 10_000, rateWindowMs: 50 });
  });

  it('does not outlive the deadline, however lively', async () => {
    server.origin.faultAlways(PATH, { kind: 'drip', bytesPerSecond: 20_000 });
    const fault = await server.fail({ fileDeadlineMs: 1_000 });
    expect(fault).toMatchObject({ code: 'source_stalled', message: expect.stringContaining('deadline') });
    expect(server.origin.requests).toHaveLength(1);
  });

  it('is not blamed for a slow reader', async () => {
    const source = server.source({ minBytesPerSecond: 1_000_000, rateWindowMs: 20, attempts: 1 });
    for await (const { bytes } of source.deliver([{ file, offset: 0 }], never)) {
      let count = 0;
      for await (const piece of bytes) {
        count += piece.length;
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
      expect(count).toBe(SIZE);
    }
  });
});

describe('a download that is not wanted any more', () => {
  it.each<[string, Fault | undefined]>([
    ['before the headers', { kind: 'stall' }],
    ['in the body', { kind: 'stall', afterBytes: 1_000 }],
    ['between two attempts', { kind: 'status', status: 503, retryAfter: '60' }],
  ])('stops at once %s', async (_, fault) => {
    if (fault) server.origin.faultAlways(PATH, fault);
    const source = server.source({
      headersTimeoutMs: ENDLESS_MS,
      idleTimeoutMs: ENDLESS_MS,
      retryAfterCapMs: ENDLESS_MS,
      fileDeadlineMs: ENDLESS_MS,
    });
    const stop = new AbortController();
    void server.asked().then(() => setTimeout(() => stop.abort(), 60));
    const iterate = async () => {
      for await (const { bytes } of source.deliver([{ file, offset: 0 }], stop.signal)) {
        for await (const piece of bytes) expect(piece.length).toBeGreaterThan(0);
      }
    };
    expect((await faultOf(iterate())).code).toBe('aborted');
  });

  it('stops while it connects', async () => {
    const source = createMirrorSource(
      { url: 'http://never.test/', repo: 'a/b', revision: 'c', limits: FAST },
      // A resolver that never answers.
      { lookup: () => undefined },
    );
    onTestFinished(() => source.close());
    const signal = AbortSignal.timeout(50);
    const iterate = async () => {
      for await (const _ of source.deliver([{ file, offset: 0 }], signal));
    };
    expect((await faultOf(iterate())).code).toBe('aborted');
  });

  it('ends with its source', async () => {
    server.origin.faultAlways(PATH, { kind: 'stall', afterBytes: 1_000 });
    const source = server.source({ idleTimeoutMs: ENDLESS_MS });
    void server.asked().then(() => setTimeout(() => void source.close(), 60));
    expect((await faultOf(fetchOne(source, file))).code).toBe('aborted');
    expect((await faultOf(fetchOne(source, file))).code).toBe('aborted');
    await eventually(() => expect(server.origin.connections).toBe(0));
  });

  it('leaves no connection with an unread body behind', async () => {
    server.origin.bytesPerSecond = 200_000;
    onTestFinished(() => {
      server.origin.bytesPerSecond = undefined;
    });
    const source = server.source();
    const before = server.origin.connections;
    for await (const _ of source.deliver([{ file, offset: 0 }], never)) break;
    await eventually(() => expect(server.origin.connections).toBe(before));
  });
});
