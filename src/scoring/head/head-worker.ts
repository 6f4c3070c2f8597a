import { becomeChild } from '../../shared/child.js';
import { messageOf } from '../../shared/errors.js';
import { fitHead, type HeadTexts, type HeadWords, learnWords } from './fit.js';
import type { FromTrainer, ToTrainer } from './trainer.js';

// The entry of a process that trains one head.

// The daemon is gone.
process.on('disconnect', () => process.exit(0));
becomeChild();

let texts: HeadTexts | undefined;
let words: HeadWords | undefined;

process.on('message', (message: ToTrainer) => {
  try {
    if ('texts' in message) {
      texts = message.texts;
      words = learnWords(texts);
    } else if (texts) answer({ head: fitHead({ ...texts, ...message.vectors }, words) });
  } catch (error) {
    answer({ failure: messageOf(error) });
  }
});

function answer(message: FromTrainer): void {
  process.send?.(message);
}
