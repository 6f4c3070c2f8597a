import type { IncomingMessage } from 'node:http';
import { AppError } from '../shared/errors.js';

/**
 * Refuses heads that Node's parser lets through: other versions of HTTP, too many headers (it would silently drop
 * the last ones), no host or several (RFC 9112, 3.2), a target without a path, expectations that nobody here fulfils.
 * @throws AppError `headers_too_large`, `bad_request`, `expectation_failed`
 */
export function checkHead(
  { rawHeaders, httpVersion, headers, url }: IncomingMessage,
  maxHeaders: number,
): void {
  if (!httpVersion.startsWith('1.')) throw new AppError('bad_request', 'send HTTP/1.1');
  // "http://" is an absolute URL to the parser, though it leads nowhere.
  if (!/^(\/|\*$|https?:\/\/[^/])/i.test(url ?? '')) {
    throw new AppError('bad_request', 'the request target is no path');
  }
  if (rawHeaders.length / 2 > maxHeaders) {
    throw new AppError('headers_too_large', `a request may have ${maxHeaders} headers at most`);
  }
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length === 4 && rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) {
    throw new AppError('bad_request', 'send exactly one Host header');
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    throw new AppError('expectation_failed', 'the only expectation that is met here is 100-continue');
  }
}
