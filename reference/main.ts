import { writeFile } from 'node:fs/promises';
import { committedContract, defaultContract } from './contract.js';
import { type Contract, httpPage } from './http-page.js';
import { settingsPage } from './settings-page.js';

// Writes what is generated and committed: the contract and the pages made of it. A test compares them.
await writeFile('openapi.json', await committedContract());
await writeFile('docs/settings.md', settingsPage());
await writeFile('docs/http.md', httpPage((await defaultContract()) as unknown as Contract));
