import type { PinnedFile } from '../cache/manifest.js';
import type { Delivery, Source } from '../cache/source.js';

/** Who is told of what a source delivers. */
export interface DeliveryWatcher {
  began(file: PinnedFile, offset: number, source: string): void;
  received(file: PinnedFile, bytes: number, source: string): void;
}

/** The same source, with somebody looking on. */
export function watchSource(source: Source, watcher: DeliveryWatcher): Source {
  async function* deliver(...[wanted, signal]: Parameters<Source['deliver']>): AsyncGenerator<Delivery> {
    for await (const delivery of source.deliver(wanted, signal)) {
      watcher.began(delivery.file, delivery.offset, source.name);
      yield { ...delivery, bytes: counted(delivery) };
    }
  }
  async function* counted({ file, bytes }: Delivery): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      watcher.received(file, piece.length, source.name);
      yield piece;
    }
  }
  return { ...source, deliver };
}
