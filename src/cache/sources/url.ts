import { AppError } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';

/** A configured place: where requests go, and what only requests to its own origin may carry. */
export interface BaseUrl {
  /** Scheme, host and path, without userinfo, query or fragment; no slash at the end. */
  readonly url: URL;
  /** The query string (of a presigned URL, say) with its `?`, or nothing. */
  readonly query: string;
  /** The `Authorization` header that the URL's userinfo stands for. */
  readonly authorization: string | undefined;
  /** The password of that userinfo: a token, for servers that want one. */
  readonly password: string | undefined;
}

/**
 * Takes a configured URL apart.
 * @throws AppError `config_invalid`, with a message that holds no secret
 */
export function parseBaseUrl(text: string, token?: string): BaseUrl {
  // The error of `new URL` quotes its input, which may hold a secret.
  if (!URL.canParse(text))
    throw new AppError('config_invalid', 'the URL of a source cannot be read as a URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new AppError('config_invalid', `a source must be https or http, not ${url.protocol}`);
  }
  const query = url.search;
  const userinfo = userinfoOf(url);
  // Credentials in the URL are meant for this place; a token may be meant for several.
  const authorization = userinfo
    ? `Basic ${Buffer.from(userinfo.join(':')).toString('base64')}`
    : token && `Bearer ${token}`;
  url.username = '';
  url.password = '';
  url.search = '';
  url.hash = '';
  url.pathname = url.pathname.replace(/(?<!\/)\/+$/, '');
  return { url, query, authorization, password: userinfo?.[1] };
}

/** `url` without userinfo, query or fragment: those may be secrets, and messages reach logs. */
export function redactUrl(url: URL | string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return '(unreadable URL)';
  }
}

/** The hub's address of a file: `{base}/{repo}/resolve/{revision}/{path}`. */
export function hubUrl(base: BaseUrl, repo: string, revision: string, file: PinnedFile): URL {
  return below(base, `${encodePath(repo)}/resolve/${encodeURIComponent(revision)}/${encodePath(file.path)}`);
}

/** The address of a file in a plain tree: `{base}/{path}`. */
export function plainUrl(base: BaseUrl, file: PinnedFile): URL {
  return below(base, encodePath(file.path));
}

/** The configured address itself, with its query. */
export function exactUrl(base: BaseUrl): URL {
  const url = new URL(base.url);
  url.search = base.query;
  return url;
}

/** Whether two URLs have scheme, host and port in common. */
export function isSameOrigin(a: URL, b: URL): boolean {
  return a.protocol === b.protocol && a.host === b.host;
}

function below(base: BaseUrl, path: string): URL {
  const url = exactUrl(base);
  // A URL always has a path of at least "/", even after its trailing slashes went.
  url.pathname = `${base.url.pathname.replace(/\/$/, '')}/${path}`;
  return url;
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function userinfoOf(url: URL): [string, string] | undefined {
  if (!url.username && !url.password) return undefined;
  try {
    return [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  } catch {
    throw new AppError(
      'config_invalid',
      'user or password in the URL of a source are not well percent-encoded',
    );
  }
}
