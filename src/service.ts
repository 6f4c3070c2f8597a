import { join } from 'node:path';
import { loadManifest } from './cache/manifest.js';
import { ContentStore } from './cache/store.js';
