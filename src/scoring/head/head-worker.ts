import { messageOf } from '../../shared/errors.js';
import { lowerPriority } from '../../shared/priority.js';
import { fitHead, type HeadTexts, HeadWords } from './fit.js';
import type { FromTrainer, ToTrainer } from './trainer.js';

// The entry of a process that trains one head.

/** Steps of `nice` below the daemon, as far as an inference worker. */
const NICENESS = 5;

// The daemon is gone.
process.on('disconnect', () => process.exit(0));
// A terminal's Ctrl-C reaches the whole process group; when to end is the daemon's decision alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
lowerPriority(NICENESS);

let texts: HeadTexts | undefined;
let words: HeadWords | undefined;

process.on('message', (message: ToTrainer) => {
  try {
    if ('texts' in message) {
      texts = message.texts;
      words = new HeadWords(texts);
    } else if (texts) answer({ head: fitHead({ ...texts, ...message.vectors }, words) });
  } catch (error) {
    answer({ failure: messageOf(error) });
  }
});

function answer(message: FromTrainer): void {
  process.send?.(message);
}
