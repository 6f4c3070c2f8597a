import type { ContentStore } from '../../cache/store.js';

/** What is asked of the volume. */
export interface VolumePort extends Pick<ContentStore, 'space'> {
  quarantined(): Promise<readonly unknown[]>;
}

/** How often the volume is looked at, in milliseconds. */
const EVERY_MS = 5_000;
/** What was seen is forgotten when the volume has not answered for this long, in milliseconds. */
const FORGET_AFTER_MS = 15_000;

/** What was seen of the volume. */
interface Sight {
  readonly space: Awaited<ReturnType<VolumePort['space']>>;
  readonly quarantined: number | undefined;
}

const NOTHING: Sight = { space: undefined, quarantined: undefined };

/**
 * What only the volume itself can tell, looked at now and then rather than when somebody asks: a volume that hangs must
 * not take `/metrics` along.
 */
export class VolumeWatch {
  readonly #volume: VolumePort;
  /** Since when a look has been under way, on the clock of `performance.now()`. */
  #lookingSince: number | undefined;
  #seen = NOTHING;

  constructor(volume: VolumePort) {
    this.#volume = volume;
    void this.look();
    setInterval(() => void this.look(), EVERY_MS).unref();
  }

  /** Size and free space as of the last look; `undefined` while the volume does not tell. */
  get space(): Sight['space'] {
    return this.#seen.space;
  }

  /** Bad blobs that are kept as evidence, as of the last look; `undefined` while the volume does not tell. */
  get quarantined(): number | undefined {
    return this.#seen.quarantined;
  }

  /** Looks now, unless a look is under way. */
  async look(): Promise<void> {
    const now = performance.now();
    if (this.#lookingSince !== undefined) {
      if (now - this.#lookingSince > FORGET_AFTER_MS) this.#seen = NOTHING;
      return;
    }
    this.#lookingSince = now;
    const [space, quarantined] = await Promise.all([
      this.#volume.space().catch(() => undefined),
      this.#volume.quarantined().then(
        ({ length }) => length,
        () => undefined,
      ),
    ]);
    this.#seen = { space, quarantined };
    this.#lookingSince = undefined;
  }
}
