import { type Content, sizeOf } from './content.js';

/** How a body ends: by an announced length, by the last chunk, or by closing the connection. */
export type Framing = 'length' | 'chunked' | 'close';

/** One way to misbehave. Byte counts are of the body of that one answer, wherever its range begins. */
export type Fault =
  /** Another status, with an optional `Retry-After` and further headers. */
  | { kind: 'status'; status: number; retryAfter?: string; headers?: Record<string, string>; body?: string }
  /** Silence after so many bytes, or before the headers if there is no number. */
  | { kind: 'stall'; afterBytes?: number; framing?: Framing }
  /** One small piece after the other. */
  | { kind: 'drip'; bytesPerSecond: number }
  /** The connection ends (or is reset) after so many bytes, or before the headers if there is no number. */
  | { kind: 'cut'; afterBytes?: number; framing?: Framing; reset?: boolean }
  /** The whole file with 200, whatever range was asked for. */
  | { kind: 'ignore-range' }
  /** A 206 with this `Content-Range`, or without any. */
  | { kind: 'wrong-range'; contentRange?: string }
  /** These bytes instead, with 200 and a length that fits them. */
  | { kind: 'replace'; content: Content; contentType?: string; framing?: Framing }
  /** The pointer that stands for a large file in a git repository. */
  | { kind: 'lfs-pointer' }
  /** A web page with status 200. */
  | { kind: 'html' }
  /** The file, and zeros without end after it. */
  | { kind: 'endless'; framing: 'chunked' | 'close' }
  /** The file, in another framing than by length. */
  | { kind: 'frame'; framing: Framing }
  /** A body that claims to be compressed. */
  | { kind: 'encoded'; encoding?: string }
  /** A redirect. */
  | { kind: 'redirect'; location: string; status?: number }
  /** Headers added or replaced. */
  | { kind: 'headers'; headers: Record<string, string> };

/** An answer as it is about to be sent; faults change it. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  content: Content;
  start: number;
  end: number;
  framing: Framing;
  stopAfter: number;
  stop: 'end' | 'stall' | 'cut' | 'reset';
  bytesPerSecond: number | undefined;
  isEndless: boolean;
}

/** Makes `answer` misbehave. */
export function applyFault(answer: Answer, fault: Fault): void {
  switch (fault.kind) {
    case 'status':
      reply(answer, fault.status, fault.body ?? 'no');
      Object.assign(answer.headers, fault.headers);
      if (fault.retryAfter !== undefined) answer.headers['retry-after'] = fault.retryAfter;
      break;
    case 'stall':
    case 'cut':
      answer.framing = fault.framing ?? answer.framing;
      answer.stopAfter = fault.afterBytes ?? -1;
      answer.stop = fault.kind === 'cut' && fault.reset ? 'reset' : fault.kind;
      break;
    case 'drip':
      answer.bytesPerSecond = fault.bytesPerSecond;
      break;
    case 'ignore-range':
      break;
    case 'wrong-range':
      answer.status = 206;
      delete answer.headers['content-range'];
      if (fault.contentRange !== undefined) answer.headers['content-range'] = fault.contentRange;
      break;
    case 'replace':
      replace(answer, fault.content, fault.contentType ?? 'application/octet-stream');
      answer.framing = fault.framing ?? answer.framing;
      break;
    case 'lfs-pointer':
      replace(answer, Buffer.from(LFS_POINTER), 'text/plain');
      break;
    case 'html':
      replace(answer, Buffer.from('<!DOCTYPE html><html><title>Sign in</title></html>'), 'text/html');
      break;
    case 'endless':
      answer.framing = fault.framing;
      answer.isEndless = true;
      break;
    case 'frame':
      answer.framing = fault.framing;
      break;
    case 'encoded':
      answer.headers['content-encoding'] = fault.encoding ?? 'gzip';
      break;
    case 'redirect':
      reply(answer, fault.status ?? 302, 'see there');
      answer.headers.location = fault.location;
      break;
    case 'headers':
      Object.assign(answer.headers, fault.headers);
      break;
  }
}

/** Pointer in a git repository in the place of a large file. */
export const LFS_POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 90405214\n`;

/** Makes `answer` a short text with `status`. */
export function reply(answer: Answer, status: number, body: string): Answer {
  answer.status = status;
  answer.content = Buffer.from(body);
  answer.start = 0;
  answer.end = answer.content.length;
  return answer;
}

function replace(answer: Answer, content: Content, contentType: string): void {
  answer.status = 200;
  answer.headers = { 'content-type': contentType };
  answer.content = content;
  answer.start = 0;
  answer.end = sizeOf(content);
}
