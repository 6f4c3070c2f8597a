import { createFileSource } from './files.js';
import { hubUrl, parseBaseUrl } from './url.js';
import type { HttpSource, HttpSourceOptions, WireParts } from './wire.js';

/** Where on the hub a model is. */
export interface HubOptions extends HttpSourceOptions {
  /** `https://huggingface.co`, or a server that answers like it. */
  readonly endpoint: string;
  /** An access token, for private and gated models. It is sent to the endpoint's own host only. */
  readonly token?: string | undefined;
  /** `organisation/name`. */
  readonly repo: string;
  /** The full commit hash. */
  readonly revision: string;
}

/**
 * The hub, which answers `{endpoint}/{repo}/resolve/{revision}/{path}` itself or with a redirect to a content
 * network. What it says of a file's size and sha256 is compared with the pins before the download.
 * @throws AppError `config_invalid`
 */
export function createHubSource(options: HubOptions, parts: WireParts = {}): HttpSource {
  const base = parseBaseUrl(options.endpoint, options.token);
  const { repo, revision } = options;
  return createFileSource(
    { name: 'hub', base, locate: (file, openAt) => openAt(hubUrl(base, repo, revision, file)) },
    options,
    parts,
  );
}
