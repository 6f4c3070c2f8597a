import type { Examples } from './operation.js';

const MODEL = {
  id: 'Xenova/all-MiniLM-L6-v2',
  revision: '48a5a372879ed2ed147ab84836e345977276d9b2',
  variant: 'q8',
  digest: 'sha256:3424aed5dd5f8fffc6da11b292e0b5f383d18e750c41cd415027dcef4825916c',
};
const HEAD = {
  method: 'head',
  version: 2,
  digest: 'sha256:82a193ba541979075d614f9e71120c750053162c20ee03d9eef6e8dc4c1adbb7',
};
const ROUTES = 'sha256:b44636ad21eb33507da6c73341d4d7950095a988eb6329f6720a1f43c5af0b87';

/**
 * Questions and their answers by the routes of a fresh clone. A test asks them and compares; where routes or scoring
 * change, take over what it got.
 */
export const CLASSIFY_EXAMPLES: Readonly<
  Record<'requests' | 'answers' | 'batchRequests' | 'batchAnswers', Examples>
> = {
  requests: {
    text: {
      summary: 'One text',
      value: {
        text: 'my card was charged twice',
      },
    },
    abstention: {
      summary: 'A text that belongs nowhere',
      value: {
        text: 'zxcv qwer',
        top_k: 1,
        threshold: 0.9,
      },
    },
    candidates: {
      summary: 'Only some routes, with what the score is made of',
      value: {
        text: 'what is the weather in Paris tomorrow?',
        routes: ['weather', 'math'],
        top_k: 1,
        explain: true,
      },
    },
    labels: {
      summary: 'Labels of the request in place of the routes',
      value: {
        text: 'who won the football match last night?',
        labels: [
          'sports',
          'politics',
          {
            name: 'cooking',
            description: 'recipes and food',
          },
        ],
        threshold: 0.3,
      },
    },
    several: {
      summary: 'Every route that reaches its threshold',
      value: {
        text: 'summarize this article and translate it into Spanish',
        multi: true,
        threshold: 0.2,
        top_k: 2,
      },
    },
  },
  answers: {
    text: {
      value: {
        route: 'account_billing',
        score: 0.999177,
        similarity: 0.740851,
        candidates: [
          {
            route: 'account_billing',
            score: 0.999177,
            similarity: 0.740851,
          },
          {
            route: 'human_agent',
            score: 0.001141,
            similarity: 0.346149,
          },
          {
            route: 'code_debugging',
            score: 0.00101,
            similarity: 0.249206,
          },
        ],
        usage: {
          tokens: 7,
          truncated_tokens: 0,
        },
        model: MODEL,
        routes_digest: ROUTES,
        scorer: HEAD,
        route_metadata: {
          model: 'small',
          queue: 'billing',
        },
      },
    },
    abstention: {
      value: {
        route: null,
        score: 0.051024,
        similarity: 0.207555,
        candidates: [
          {
            route: 'small_talk',
            score: 0.051024,
            similarity: 0.207555,
          },
        ],
        usage: {
          tokens: 8,
          truncated_tokens: 0,
        },
        model: MODEL,
        routes_digest: ROUTES,
        scorer: HEAD,
      },
    },
    candidates: {
      value: {
        route: 'weather',
        score: 0.996411,
        similarity: 0.604592,
        candidates: [
          {
            route: 'weather',
            score: 0.996411,
            similarity: 0.604592,
            threshold: 0.221,
            nearest: [
              {
                utterance: "what's the weather like today",
                similarity: 0.604592,
              },
              {
                utterance: 'will it rain tomorrow in london',
                similarity: 0.601967,
              },
              {
                utterance: 'Please give me the five day weather forecast for Chicago.',
                similarity: 0.586129,
              },
            ],
            contribution: {
              head_probability: 0.999996,
              probability: 1,
              log_odds: {
                head: 4.794816,
                similarity: 6.547583,
                bias: -5.716152,
              },
            },
          },
        ],
        usage: {
          tokens: 10,
          truncated_tokens: 0,
        },
        model: MODEL,
        routes_digest: ROUTES,
        scorer: HEAD,
        route_metadata: {
          model: 'small',
          tool: 'weather_api',
        },
      },
    },
    labels: {
      value: {
        route: 'sports',
        score: 0.955489,
        similarity: 0.253927,
        candidates: [
          {
            route: 'sports',
            score: 0.955489,
            similarity: 0.253927,
          },
          {
            route: 'cooking',
            score: 0.360232,
            similarity: 0.171202,
          },
          {
            route: 'politics',
            score: 0.304933,
            similarity: 0.139384,
          },
        ],
        usage: {
          tokens: 10,
          truncated_tokens: 0,
        },
        model: MODEL,
        routes_digest: 'sha256:80fb11f4168fb416814837c8d7e538a73accd841c7323115efe4d59247402425',
        scorer: {
          method: 'nearest',
          version: 1,
        },
      },
    },
    several: {
      value: {
        route: 'summarization',
        score: 0.979906,
        similarity: 0.703114,
        candidates: [
          {
            route: 'summarization',
            score: 0.979906,
            similarity: 0.703114,
          },
          {
            route: 'translation',
            score: 0.477412,
            similarity: 0.561022,
          },
        ],
        routes: [
          {
            route: 'summarization',
            score: 0.979906,
            similarity: 0.703114,
            metadata: {
              model: 'small',
            },
          },
          {
            route: 'translation',
            score: 0.477412,
            similarity: 0.561022,
            metadata: {
              model: 'small',
              tool: 'translator',
            },
          },
        ],
        usage: {
          tokens: 12,
          truncated_tokens: 0,
        },
        model: MODEL,
        routes_digest: ROUTES,
        scorer: HEAD,
        route_metadata: {
          model: 'small',
        },
      },
    },
  },
  batchRequests: {
    texts: {
      summary: 'Two texts',
      value: {
        texts: ['my card was charged twice', 'what is the weather in Paris tomorrow?'],
        top_k: 1,
      },
    },
  },
  batchAnswers: {
    texts: {
      value: {
        results: [
          {
            route: 'account_billing',
            score: 0.999177,
            similarity: 0.740851,
            candidates: [
              {
                route: 'account_billing',
                score: 0.999177,
                similarity: 0.740851,
              },
            ],
            usage: {
              tokens: 7,
              truncated_tokens: 0,
            },
            model: MODEL,
            routes_digest: ROUTES,
            scorer: HEAD,
            route_metadata: {
              model: 'small',
              queue: 'billing',
            },
          },
          {
            route: 'weather',
            score: 0.996411,
            similarity: 0.604592,
            candidates: [
              {
                route: 'weather',
                score: 0.996411,
                similarity: 0.604592,
              },
            ],
            usage: {
              tokens: 10,
              truncated_tokens: 0,
            },
            model: MODEL,
            routes_digest: ROUTES,
            scorer: HEAD,
            route_metadata: {
              model: 'small',
              tool: 'weather_api',
            },
          },
        ],
      },
    },
  },
};
