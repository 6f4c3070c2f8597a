import { writeFile } from 'node:fs/promises';
import { committedContract } from './contract.js';
import { settingsPage } from './settings-page.js';

// Writes what is generated and committed: the contract and the pages made of it. A test compares them.
await writeFile('openapi.json', await committedContract());
await writeFile('docs/settings.md', settingsPage());
