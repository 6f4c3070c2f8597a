import type { ErrorCode } from '../shared/errors.js';
import type { Layout } from './layout.js';
import { looksOver } from './volume-probe.js';

/**
 * Looks at a volume in trouble once in a while, so that it heals as soon as that is possible and not only after
 * the pause that failed attempts have grown to.
 */
export class CureWatch {
  readonly #layout: Layout;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(layout: Layout, everyMs: number) {
    this.#layout = layout;
    this.#everyMs = everyMs;
  }

  /**
   * Calls `onCured` once, when the trouble was seen and then is seen to be over. A trouble that a look never sees
   * (a quota, say) is left to the growing pauses: otherwise it would be attempted at each look.
   * @param bytes how much has to fit on the volume
   */
  start(code: ErrorCode, bytes: number, onCured: () => void): void {
    this.stop();
    let seen = false;
    const look = async (): Promise<void> => {
      const over = await looksOver(this.#layout, code, bytes);
      if (timer !== this.#timer) return;
      if (over && seen) {
        this.stop();
        onCured();
      } else {
        seen ||= !over;
        timer.refresh();
      }
    };
    const timer = setTimeout(() => void look(), this.#everyMs);
    timer.unref();
    this.#timer = timer;
    void looksOver(this.#layout, code, bytes).then((over) => {
      seen ||= !over;
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
