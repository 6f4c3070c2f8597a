import { errnoOf } from '../../src/shared/errors.js';
import { type Content, sha256Of, sizeOf } from './content.js';
import { Origin, type OriginOptions } from './origin.js';

/** A hub and its content network: two servers on two hosts. */
export interface Hub {
  /** Answers `/{repo}/resolve/{revision}/{path}`. */
  readonly endpoint: Origin;
  /** Holds the large files, at `/{sha256}`; another host than the endpoint. */
  readonly cdn: Origin;
  readonly repo: string;
  readonly revision: string;
  /** The endpoint's path of a file. */
  pathOf(path: string): string;
  /** The content network's path of a large file. */
  cdnPathOf(path: string): string;
  /** Requests to both servers. */
  readonly requestCount: number;
  close(): Promise<void>;
}

/** Contents of a hub. */
export interface HubContent {
  /** Path → content. */
  files: Readonly<Record<string, Content>>;
  /** Which files are large ones, behind a redirect. Default: `.onnx` files. */
  isLarge?: (path: string) => boolean;
  repo?: string;
  /** Default: forty times `a`. */
  revision?: string;
  bytesPerSecond?: number;
}

/**
 * Starts a server that answers like the hub: small files itself, large ones with a 302 that announces size and
 * sha256 (`X-Linked-Size`, `X-Linked-Etag`) and leads to a signed URL on another host.
 */
export async function startHub(content: HubContent): Promise<Hub> {
  const { files, isLarge = (path) => path.endsWith('.onnx') } = content;
  const { repo = 'Xenova/all-MiniLM-L6-v2', revision = 'a'.repeat(40) } = content;
  const throttle = content.bytesPerSecond === undefined ? {} : { bytesPerSecond: content.bytesPerSecond };
  const endpoint = await Origin.start(throttle);
  const cdn = await startElsewhere(throttle);
  const digests = new Map(Object.entries(files).map(([path, bytes]) => [path, sha256Of(bytes)]));
  const pathOf = (path: string) => `/${repo}/resolve/${revision}/${path}`;
  const cdnPathOf = (path: string) => `/${digests.get(path) ?? 'unknown'}`;
  for (const [path, bytes] of Object.entries(files)) {
    if (!isLarge(path)) {
      endpoint.put(pathOf(path), bytes, { headers: { 'x-repo-commit': revision } });
      continue;
    }
    cdn.put(cdnPathOf(path), bytes);
    endpoint.redirect(pathOf(path), `${cdn.url}${cdnPathOf(path)}?X-Signature=signed`, 302, {
      'x-repo-commit': revision,
      'x-linked-size': String(sizeOf(bytes)),
      'x-linked-etag': `"${digests.get(path)}"`,
    });
  }
  const close = async () => {
    await Promise.all([endpoint.close(), cdn.close()]);
  };
  return {
    endpoint,
    cdn,
    repo,
    revision,
    pathOf,
    cdnPathOf,
    get requestCount() {
      return endpoint.requests.length + cdn.requests.length;
    },
    close,
  };
}

/** Another host than 127.0.0.1: IPv6 where there is any. */
async function startElsewhere(options: OriginOptions): Promise<Origin> {
  try {
    return await Origin.start({ ...options, host: '::1' });
  } catch (error) {
    if (errnoOf(error) !== 'EADDRNOTAVAIL' && errnoOf(error) !== 'EAFNOSUPPORT') throw error;
    return Origin.start({ ...options, host: '127.0.0.2' });
  }
}
