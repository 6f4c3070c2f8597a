import type { Tool } from '../campaign/tools.js';
import type { Client } from './asker.js';

/** Two clients that the daemon tells apart. */
export interface Pair {
  readonly greedy: Client;
  readonly modest: Client;
  readonly env: Readonly<Record<string, string>>;
  /** What the machine has to have. */
  readonly tools: readonly Tool[];
}

const KEYS = { greedy: 'abuse-campaign-greedy-key', modest: 'abuse-campaign-modest-key' } as const;

export const BY_KEY: Pair = {
  greedy: { key: KEYS.greedy },
  modest: { key: KEYS.modest },
  env: { API_KEYS: Object.values(KEYS).join(',') },
  tools: [],
};

export const BY_ADDRESS: Pair = {
  // It says of each request that it comes from elsewhere, which nobody may believe it.
  greedy: { localAddress: '127.0.0.2', forged: true },
  modest: { localAddress: '127.0.0.3' },
  env: { TRUST_PROXY: 'none' },
  tools: ['127.0.0.x'],
};
