import type { Examples } from './operation.js';
export const CLASSIFY_EXAMPLES: Record<'requests' | 'answers' | 'batchRequests' | 'batchAnswers', Examples> =
  {
    requests: {
      text: { summary: 'One text', value: { text: 'my card was charged twice' } },
    },
    answers: {},
    batchRequests: {},
    batchAnswers: {},
  };
