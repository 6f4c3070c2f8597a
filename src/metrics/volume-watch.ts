import type { ContentStore } from '../cache/store.js';

/** What is asked of the volume. */
export interface VolumePort extends Pick<ContentStore, 'space'> {
  quarantined(): Promise<readonly unknown[]>;
}

/** How often the volume is looked at, in milliseconds. */
const EVERY_MS = 5_000;

/**
 * What only the volume itself can tell, looked at now and then rather than when somebody asks: a volume that hangs must
 * not take `/metrics` along.
 */
export class VolumeWatch {
  readonly #store: VolumePort;
  #looking = false;
  #space: Awaited<ReturnType<ContentStore['space']>>;
  #quarantined = 0;

  constructor(store: VolumePort) {
    this.#store = store;
    void this.look();
    setInterval(() => void this.look(), EVERY_MS).unref();
  }

  /** Size and free space as of the last look; `undefined` while the volume does not tell. */
  get space(): Awaited<ReturnType<ContentStore['space']>> {
    return this.#space;
  }

  /** Bad blobs that are kept as evidence, as of the last look. */
  get quarantined(): number {
    return this.#quarantined;
  }

  /** Looks now, unless a look is under way. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    this.#space = await this.#store.space();
    this.#quarantined = (await this.#store.quarantined().catch(() => [])).length;
    this.#looking = false;
  }
}
