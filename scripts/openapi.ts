import { readFile, writeFile } from 'node:fs/promises';
import { loadManifest } from '../src/cache/manifest.js';
import { readConfig } from '../src/config/config.js';
import { contractSettings } from '../src/daemon/model.js';
import { allEndpoints } from '../src/http/endpoints/index.js';
import { openapiDocument } from '../src/http/openapi.js';
import { clientTypes } from './client-types.js';
import { commandLine } from './command-line.js';
import { type Contract, httpPage, settingsPage } from './pages.js';

commandLine(`\`npm run openapi\`: writes openapi.json (the API of a daemon with default settings) and the pages generated from it
and from the settings. Tests compare the committed files.`);

const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
const config = readConfig({});
const settings = contractSettings(config, await loadManifest(config.manifestFile), version);
const contract = await openapiDocument(settings, allEndpoints(settings));
await writeFile('openapi.json', `${JSON.stringify(contract, null, 2)}\n`);
await writeFile('docs/settings.md', settingsPage());
await writeFile('packages/client/src/contract.ts', clientTypes(contract as unknown as Contract));
await writeFile('docs/http.md', httpPage(contract as unknown as Contract));
