import type { Manifest } from '../cache/manifest.js';
import type { Source } from '../cache/source.js';
import { createArchiveSource } from '../cache/sources/archive.js';
import { createBundledSource } from '../cache/sources/bundled.js';
import { createHubSource, createMirrorSource } from '../cache/sources/files.js';
import type { HttpSourceOptions, SourceEvent } from '../cache/sources/retry.js';
import type { Config } from '../config/config.js';
import type { SourceKind } from '../config/parsers.js';

/** The settings that decide where bytes come from. */
export type SourcesConfig = Pick<
  Config,
  'sources' | 'bundledDir' | 'mirrors' | 'mirrorToken' | 'hubEndpoint' | 'hubToken' | 'hubOffline'
>;

/** Options of {@link createSources}. */
export interface SourcesOptions {
  /** Told about each retry. */
  readonly onEvent?: (event: SourceEvent) => void;
  /** Whether a wait between two attempts keeps the process alive; a command needs it, a daemon does not. */
  readonly holdProcess?: boolean;
}

/** The wait after a first failure at least; the failures of other files come within this time. */
const SIDE_BY_SIDE_MS = 1_000;

/** A source with what it holds open, if it holds anything. */
export type OwnedSource = Source & { close?(): Promise<void> };

/**
 * The sources that the settings name, in their order. Several mirrors keep the order of `MODEL_MIRRORS`; the hub
 * is left out when it must not be asked. The caller closes them with {@link closeSources}.
 * @throws AppError `config_invalid` for a URL that cannot be a source, without its secrets
 */
export function createSources(
  config: SourcesConfig,
  manifest: Pick<Manifest, 'repo' | 'revision'>,
  { onEvent, holdProcess }: SourcesOptions = {},
): readonly OwnedSource[] {
  const { repo, revision } = manifest;
  const token = config.mirrorToken;
  const http: HttpSourceOptions = {
    ...(holdProcess !== undefined && { limits: { holdProcess } }),
    ...(onEvent && { onEvent: oncePerAttempt(onEvent) }),
  };
  const make: Readonly<Record<SourceKind, () => OwnedSource[]>> = {
    bundled: () => [createBundledSource(config.bundledDir)],
    mirror: () =>
      config.mirrors.map((url) =>
        isArchiveUrl(url)
          ? createArchiveSource({ ...http, url, token })
          : createMirrorSource({ ...http, url, token, repo, revision }),
      ),
    hub: () =>
      config.hubOffline
        ? []
        : [
            createHubSource({
              ...http,
              endpoint: config.hubEndpoint,
              token: config.hubToken,
              repo,
              revision,
            }),
          ],
  };
  return config.sources.flatMap((kind) => make[kind]());
}

/** Files side by side that fail alike wait side by side: that is one event. */
function oncePerAttempt(onEvent: (event: SourceEvent) => void): (event: SourceEvent) => void {
  const until = new Map<string, number>();
  return (event) => {
    const key = `${event.source} ${event.code} ${event.attempt}`;
    const now = performance.now();
    if (now < (until.get(key) ?? 0)) return;
    // The next attempt of the first file ends the time in which others come to this one.
    until.set(key, now + Math.max(event.waitMs, SIDE_BY_SIDE_MS));
    onEvent(event);
  };
}

/** Ends the connections of all sources. */
export async function closeSources(sources: readonly OwnedSource[]): Promise<void> {
  await Promise.all(sources.map((source) => source.close?.()));
}

/** Whether a mirror's URL names one archive rather than the root of a file tree. Its query string says nothing. */
export function isArchiveUrl(url: string): boolean {
  return /\.(tar\.gz|tgz|tar)$/i.test(new URL(url).pathname);
}
