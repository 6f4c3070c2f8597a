export { type ArchiveOptions, createArchiveSource } from './archive.js';
export { type BundledOptions, createBundledSource } from './bundled.js';
export { createHubSource, type HubOptions } from './hub.js';
export { createMirrorSource, type MirrorLayout, type MirrorOptions } from './mirror.js';
export { redactUrl } from './url.js';
export {
  type HttpSource,
  type HttpSourceOptions,
  type SourceEvent,
  WIRE_DEFAULTS,
  type WireLimits,
  type WireParts,
} from './wire.js';
