export { type ArchiveOptions, createArchiveSource } from './archive.js';
export { type BundledOptions, createBundledSource } from './bundled.js';
export {
  createHubSource,
  createMirrorSource,
  type HubOptions,
  type MirrorLayout,
  type MirrorOptions,
} from './files.js';
export {
  type HttpSource,
  type HttpSourceOptions,
  type SourceEvent,
  WIRE_DEFAULTS,
  type WireLimits,
  type WireParts,
} from './retry.js';
export { redactUrl } from './url.js';
