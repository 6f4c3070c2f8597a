import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { AppError, errnoOf, messageOf } from '../../shared/errors.js';
import { contentLengthOf, refuseEncoded } from './answer.js';
import type { WatchedBody } from './body.js';
import { ByteReader } from './byte-reader.js';
import { statusFault } from './faults.js';
import type { HttpAnswer } from './http-client.js';
import { htmlTypeFault, impostorFault } from './placeholder.js';
import { BLOCK_BYTES } from './tar-header.js';
import { TarReader } from './tar-reader.js';

/** An archive on its way in. */
export interface ArchiveStream {
  readonly tar: TarReader;
  /** Gives up what is left. */
  close(): void;
}

/**
 * Takes an answer as a tar archive, gzipped or not: its first bytes decide, not its name. Neither its packed nor
 * its unpacked length may exceed `maxBytes`.
 * @throws AppError `source_…`
 */
export async function openArchive(answer: HttpAnswer, maxBytes: number): Promise<ArchiveStream> {
  const { status, headers, place, body } = answer;
  try {
    if (status !== 200) throw statusFault(status, headers, place);
    refuseEncoded(headers, place);
    const page = htmlTypeFault(headers, '', place);
    if (page) throw page;
    const length = contentLengthOf(headers);
    if (length !== undefined && length > maxBytes) throw bombFault(place, maxBytes);
    const mayBeCut = length === undefined;

    const packed = new ByteReader(bounded(piecesOf(body), maxBytes, place));
    const head = await packed.exactly(BLOCK_BYTES);
    packed.unread(head);
    const impostor = impostorFault(head, '', place);
    if (impostor) throw impostor;
    const isGzip = head[0] === 0x1f && head[1] === 0x8b;
    const plain = isGzip
      ? new ByteReader(bounded(gunzip(packed.rest(), place, mayBeCut), maxBytes, place))
      : packed;
    const close = () => {
      body.close();
      plain.close();
    };
    return { tar: new TarReader(plain, place, mayBeCut), close };
  } catch (error) {
    body.close();
    throw error;
  }
}

async function* piecesOf(body: WatchedBody): AsyncGenerator<Uint8Array> {
  for (let piece = await body.next(); piece; piece = await body.next()) yield piece;
}

async function* bounded(
  pieces: AsyncIterable<Uint8Array>,
  maxBytes: number,
  place: string,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const piece of pieces) {
    total += piece.length;
    if (total > maxBytes) throw bombFault(place, maxBytes);
    yield piece;
  }
}

async function* gunzip(
  packed: AsyncIterable<Uint8Array>,
  place: string,
  mayBeCut: boolean,
): AsyncGenerator<Uint8Array> {
  // One piece at a time: by default sixteen would wait in line.
  const input = Readable.from(packed, { highWaterMark: 1 });
  const unzipped = createGunzip({ chunkSize: 65_536 });
  // Failures of either side arrive at `unzipped`, which is read below.
  pipeline(input, unzipped, () => undefined);
  try {
    yield* unzipped as AsyncIterable<Uint8Array>;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    if (errnoOf(cause) === 'Z_BUF_ERROR') {
      throw new AppError('source_truncated', `${place}: the gzip stream ends too early`, {
        retryable: mayBeCut,
        cause,
      });
    }
    throw new AppError('source_wrong_bytes', `${place}: damaged gzip (${messageOf(cause)})`, { cause });
  } finally {
    unzipped.destroy();
  }
}

function bombFault(place: string, maxBytes: number): AppError {
  return new AppError('source_too_large', `${place}: an archive of more than ${maxBytes} bytes`);
}
