import type { Config } from './config.js';
import type { ContractSettings } from './http/openapi.js';

/** What the contract says of a daemon with these settings. */
export function contractSettings(config: Config, version: string): ContractSettings {
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
    keyRequired: apiKeys.length > 0,
  };
}
