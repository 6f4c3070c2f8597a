import { readFile } from 'node:fs/promises';
import { loadManifest } from '../src/cache/manifest.js';
import { readConfig } from '../src/config/config.js';
import { contractSettings } from '../src/daemon/contract-settings.js';
import { type ContractDocument, openapiDocument } from '../src/http/openapi.js';

/** The contract of a daemon with the default settings. */
export async function defaultContract(): Promise<ContractDocument> {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const config = readConfig({});
  return openapiDocument(contractSettings(config, await loadManifest(config.manifestFile), version));
}

/** The text of `openapi.json`. */
export async function committedContract(): Promise<string> {
  return `${JSON.stringify(await defaultContract(), null, 2)}\n`;
}
