import { AppError } from '../../shared/errors.js';
import { type HeaderFields, headerOf } from './faults.js';

/** How many first bytes of a file are enough to recognize an impostor. */
export const HEAD_BYTES = 64;

const LFS_POINTER = /^version https:\/\/git-lfs/;
const HTML = /^\s*<(!doctype\s+html|html[\s>])/i;

/**
 * Recognizes what servers and repositories hand out instead of a file: a Git LFS pointer, a web page.
 * `place` says which file, and from where; `path` is the pinned path.
 */
export function impostorFault(head: Uint8Array, path: string, place: string): AppError | undefined {
  const text = Buffer.from(head).toString('latin1');
  if (LFS_POINTER.test(text)) {
    return new AppError('source_wrong_bytes', `${place}: a Git LFS pointer, not the file it stands for`);
  }
  if (HTML.test(text.replace(/^\xef\xbb\xbf/, '')) && !mayBeHtml(path)) return pageFault(place);
  return undefined;
}

/** The same, recognized by the type that the server announces. */
export function htmlTypeFault(headers: HeaderFields, path: string, place: string): AppError | undefined {
  const type = headerOf(headers, 'content-type') ?? '';
  return /^\s*(text\/html|application\/xhtml\+xml)\b/i.test(type) && !mayBeHtml(path)
    ? pageFault(place)
    : undefined;
}

/** A file of another size than the pinned one. */
export function sizeFault(place: string, actual: number, pinned: number): AppError {
  return new AppError('source_wrong_bytes', `${place}: ${actual} bytes, pinned are ${pinned}`);
}

/** A file that goes on beyond its pinned size. */
export function tooLargeFault(place: string, pinned: number, announced?: number): AppError {
  const actual = announced === undefined ? 'more' : `${announced} bytes, more`;
  return new AppError('source_too_large', `${place}: ${actual} than the pinned ${pinned} bytes`);
}

function pageFault(place: string): AppError {
  return new AppError('source_wrong_bytes', `${place}: an HTML page, not the file`);
}

function mayBeHtml(path: string): boolean {
  return /\.(x?html?|md)$/i.test(path);
}
