import { afterAll, beforeAll, beforeEach, expect, onTestFinished } from 'vitest';
import { createMirrorSource } from '../../../src/cache/sources/files.js';
import type { HttpSource, SourceEvent, WireLimits } from '../../../src/cache/sources/retry.js';
import type { AppError } from '../../../src/shared/errors.js';
import { generated, pin } from '../../support/content.js';
import { eventually } from '../../support/eventually.js';
import { Origin } from '../../support/origin.js';
import { type Arrived, FAST, faultOf, fetchOne } from './collect.js';

/** Bytes of the file that is downloaded. */
export const SIZE = 300_000;
export const content = Buffer.from(generated(SIZE).slice(0, SIZE));
export const file = pin('onnx/model.onnx', content);
/** Where the server has it. */
export const PATH = '/onnx/model.onnx';

/** A server with one file, well-behaved again before each test, and a source that downloads from it. */
export interface Server {
  readonly origin: Origin;
  /** Reports of the sources. */
  readonly events: SourceEvent[];
  /** A source for the server, or for another one at `url`; closed after the test. */
  source(limits?: Partial<WireLimits>, url?: string): HttpSource;
  /** Downloads the file. */
  fetch(limits?: Partial<WireLimits>, offset?: number): Promise<Arrived>;
  /** Resolves when a request has come. */
  asked(): Promise<void>;
  /** Downloads the file, and returns the fault that this ends with. */
  fail(limits?: Partial<WireLimits>): Promise<AppError>;
}

/** Starts a server for the tests of a file. */
export function useServer(): Server {
  let origin: Origin;
  const events: SourceEvent[] = [];
  beforeAll(async () => {
    origin = await Origin.start();
  });
  afterAll(() => origin.close());
  beforeEach(() => {
    origin.heal();
    origin.put(PATH, content);
    origin.requests.length = 0;
    events.length = 0;
  });

  function source(limits: Partial<WireLimits> = {}, url = origin.url): HttpSource {
    const made = createMirrorSource({
      url,
      repo: 'a/b',
      revision: 'c',
      layout: 'plain',
      limits: { ...FAST, ...limits },
      onEvent: (event) => events.push(event),
    });
    onTestFinished(() => made.close());
    return made;
  }
  const fetch = (limits?: Partial<WireLimits>, offset = 0) => fetchOne(source(limits), file, offset);
  return {
    get origin() {
      return origin;
    },
    events,
    source,
    fetch,
    asked: () => eventually(() => expect(origin.requests).not.toEqual([])),
    fail: (limits) => faultOf(fetch(limits)),
  };
}
