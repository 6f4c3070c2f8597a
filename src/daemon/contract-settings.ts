import type { Manifest } from '../cache/manifest.js';
import type { Config } from '../config/config.js';
import type { ContractSettings } from '../http/openapi.js';
import { embeddingModelOf } from './embedding-model.js';

/** What the contract says of a daemon with these settings and this model. */
export function contractSettings(config: Config, manifest: Manifest, version: string): ContractSettings {
  const { maxTextChars, maxBatch, maxBodyBytes, maxQueue, maxConnections, maxHeaders, rateLimit, apiKeys } =
    config;
  return {
    maxTextChars,
    maxBatch,
    maxBodyBytes,
    maxQueue,
    maxConnections,
    maxHeaders,
    rateLimit,
    version,
    model: embeddingModelOf(manifest),
    keyRequired: apiKeys.length > 0,
  };
}
