import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { AppError, type ErrorCode, errnoOf } from '../shared/errors.js';
import { problemOf } from './problem.js';

/** How long a refused client may still send before its connection is cut, in milliseconds. */
const LINGER_MS = 500;

/** A request that was refused before it had a context, because it could not be read. */
export interface Refusal {
  readonly requestId: string;
  readonly status: number;
  readonly code: ErrorCode;
  /** The parser's own word for it, e.g. `HPE_INVALID_METHOD`. */
  readonly reason: string;
}

/** What an error of Node's HTTP parser or of its clock means to the client; `undefined`: the client is gone. */
export function parserFault(error: Error): AppError | undefined {
  const reason = errnoOf(error) ?? '';
  if (reason === 'HPE_HEADER_OVERFLOW') {
    return new AppError('headers_too_large', 'the request line and the headers are too long');
  }
  if (reason === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new AppError('request_timeout', 'the request did not arrive in time');
  }
  if (reason === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new AppError('body_too_large', 'the chunk extensions are too long');
  }
  if (!reason.startsWith('HPE_')) return undefined;
  return new AppError('bad_request', 'the request is not well-formed HTTP/1.1');
}

/** Writes a problem document straight to a connection, and closes it. */
export function refuse(socket: Duplex, error: AppError, reason: string): Refusal {
  const requestId = randomUUID();
  const problem = problemOf(error, requestId);
  const body = JSON.stringify(problem);
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Refused'}`,
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Cache-Control: no-store',
      'X-Content-Type-Options: nosniff',
      `X-Request-Id: ${requestId}`,
      `Date: ${new Date().toUTCString()}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
  // Closed at once, what the client still sends would be answered by a reset that overtakes the document.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  return { requestId, status: problem.status, code: error.code, reason };
}
