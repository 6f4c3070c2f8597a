import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { type FromWorker, readFrames, type ToWorker, writeFrame } from '../../src/inference/protocol.js';

/** Frames that `readFrames` returns for bytes that arrive in pieces of `size`. */
async function read(bytes: Buffer, size: number): Promise<[message: ToWorker | FromWorker, bytes: Buffer][]> {
  const channel = new PassThrough();
  const frames: [message: ToWorker | FromWorker, bytes: Buffer][] = [];
  readFrames<ToWorker | FromWorker>(channel, (message, rest) => frames.push([message, Buffer.from(rest)]));
  for (let offset = 0; offset < bytes.length; offset += size)
    channel.write(bytes.subarray(offset, offset + size));
  await new Promise((resolve) => channel.end(resolve).once('end', resolve));
  return frames;
}

it.each([1, 3, 7, 8, 64, 1_000_000])(
  'frames that arrive in pieces of %i bytes are what was written',
  async (size) => {
    const messages: [ToWorker | FromWorker, Uint8Array[]][] = [
      [{ kind: 'started' }, []],
      [{ kind: 'embed', texts: [{ id: 0, text: 'a lone \ud800, a NUL \0, 東京 and "quotes"\n' }] }, []],
      [
        { kind: 'embedded', passes: 1, results: [] },
        [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(4)],
      ],
      [{ kind: 'started' }, []],
    ];
    const channel = new PassThrough();
    await Promise.all(messages.map(([message, bytes]) => writeFrame(channel, message, bytes)));
    const frames = await read(channel.read(), size);
    expect(frames).toEqual(messages.map(([message, bytes]) => [message, Buffer.concat(bytes)]));
  },
);
