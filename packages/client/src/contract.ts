// Generated from the API description by `npm run openapi`; a test compares.

/** Any JSON value. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

/** A JSON object with any keys. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** One pinned file */
export type CacheFile = {
  readonly path: string;
  readonly digest: Digest;
  readonly size: number;
  readonly state: 'unknown' | 'verified' | 'missing' | 'corrupt' | 'downloading' | 'repairing';
  /** Bytes downloaded so far */
  readonly bytes: number;
  readonly verified_at: string | null;
  readonly source: string | null;
  /** Why the file is corrupt or cannot be fetched */
  readonly reason: string | null;
};

/** A problem with its code and explanation */
export type CacheProblem = {
  readonly code: ErrorCode;
  readonly message: string;
};

/** The volume and its contents */
export type CacheStatus = {
  readonly volume: {
    readonly path: string;
    readonly mount: boolean;
    readonly writable: boolean;
    readonly free_bytes: number | null;
    readonly total_bytes: number | null;
    readonly problem: CacheProblem | null;
  };
  readonly manifest: {
    readonly id: string;
    readonly revision: string;
    readonly variant: string;
    readonly digest: Digest;
  };
  /** Whether every pinned file is verified */
  readonly whole: boolean;
  readonly files: readonly CacheFile[];
  readonly verification: {
    readonly running: boolean;
    readonly cron: string;
    readonly last: VerificationReport | null;
    readonly next: string | null;
    /** When the next attempt is due after a failed one */
    readonly retry: string | null;
    readonly watching: boolean;
  };
  readonly counters: {
    readonly verifications: number;
    readonly corruptions: number;
    readonly repairs: number;
    readonly downloads: number;
    readonly downloaded_bytes: number;
  };
  readonly quarantine: readonly {
    readonly name: string;
    readonly path: string | null;
    readonly reason: string;
    readonly at: string;
    readonly bytes: number;
  }[];
  readonly events: readonly {
    readonly at: string;
    readonly kind: 'verified' | 'missing' | 'corrupt' | 'quarantined' | 'copied' | 'downloaded' | 'repaired' | 'source_failed' | 'volume' | 'unstable' | 'failed';
    readonly path?: string;
    readonly message: string;
  }[];
};

/** One route that was considered */
export type Candidate = {
  readonly route: string;
  /** Calibrated probability that this route is right */
  readonly score: number;
  /** Highest cosine similarity to an utterance of the route */
  readonly similarity: number;
  /** With `explain`: minimum score with which it is chosen */
  readonly threshold?: number;
  /** With `explain`: the most similar utterances, nearest first */
  readonly nearest?: readonly {
    readonly utterance: string;
    readonly similarity: number;
  }[];
  /** With `explain`: factor of the score; near 0 if the text resembles no utterance or is not legible */
  readonly familiarity?: number;
  readonly contribution?: Contribution;
};

/** State of one part */
export type Check = {
  readonly ok: boolean;
  readonly code?: ErrorCode;
  readonly detail?: string;
  /** Digest of the served routes */
  readonly digest?: Digest;
  /** Seconds since the leader of `ROUTES_URL` confirmed these routes */
  readonly age_s?: number;
};

export type ClassifyBatchRequest = {
  readonly texts?: readonly string[];
  /** Instead of `texts`: conversations */
  readonly messages?: readonly Messages[];
  /** How many candidates to return */
  readonly top_k?: number;
  /** Minimum score of a chosen route; overrides the threshold of the route and the default */
  readonly threshold?: number;
  /** Only these routes are candidates; an unknown name is an error */
  readonly routes?: readonly string[];
  /** Labels to use instead of the served routes for this request (zero-shot); cannot be combined with `routes` */
  readonly labels?: readonly (string | {
    readonly name: string;
    readonly description?: string;
    readonly utterances?: readonly string[];
  })[];
  /** Whether to return every route that reaches its threshold, as `routes` */
  readonly multi?: boolean;
  /** Whether to add the nearest utterances and the parts of the score to each candidate */
  readonly explain?: boolean;
};

export type ClassifyRequest = {
  readonly text?: string;
  readonly messages?: Messages;
  /** How many candidates to return */
  readonly top_k?: number;
  /** Minimum score of a chosen route; overrides the threshold of the route and the default */
  readonly threshold?: number;
  /** Only these routes are candidates; an unknown name is an error */
  readonly routes?: readonly string[];
  /** Labels to use instead of the served routes for this request (zero-shot); cannot be combined with `routes` */
  readonly labels?: readonly (string | {
    readonly name: string;
    readonly description?: string;
    readonly utterances?: readonly string[];
  })[];
  /** Whether to return every route that reaches its threshold, as `routes` */
  readonly multi?: boolean;
  /** Whether to add the nearest utterances and the parts of the score to each candidate */
  readonly explain?: boolean;
};

/** Parts of a score */
export type Contribution = {
  /** Probability of the route among the candidates, by the trained head alone */
  readonly head_probability: number;
  /** The same, with similarity and words included */
  readonly probability: number;
  /** Terms of the log-odds of the score, before `familiarity` */
  readonly log_odds: {
    readonly head: number;
    readonly similarity: number;
    readonly bias: number;
  };
  /** Words and word pairs with the largest effect for or against the route */
  readonly words: readonly {
    readonly text: string;
    readonly log_odds: number;
  }[];
};

/** The decision for a text */
export type Decision = {
  /** The chosen route; `null` if none reached its threshold */
  readonly route: string | null;
  /** Score of the route, or of the best candidate if there is no route */
  readonly score: number;
  /** Cosine similarity of the same route or candidate */
  readonly similarity: number;
  /** Present only if the model cannot read the text: most of it is unknown or in a script that the model was not trained on, or it is more like another language or keyboard noise than like any utterance. Scores are then low */
  readonly legible?: false;
  /** The best candidates by score. The chosen route need not be the first: a candidate with a higher score may have missed its own, higher threshold */
  readonly candidates: readonly Candidate[];
  /** With `multi`: every route that reached its threshold */
  readonly routes?: readonly {
    readonly route: string;
    readonly score: number;
    readonly similarity: number;
    readonly metadata?: JsonObject;
  }[];
  /** With `messages`: the turns of the user that were read; the turn before the last is read only if the last one reached no threshold */
  readonly turns?: readonly {
    /** Index of the message */
    readonly message: number;
    /** Weight of the message in the decision */
    readonly share: number;
    /** With `explain`: the beginning of the text that was read */
    readonly text?: string;
  }[];
  readonly usage: Usage;
  readonly model: Model;
  /** Digest of the route set, or of the labels used instead */
  readonly routes_digest: Digest;
  readonly scorer: Scorer;
  /** Metadata of the chosen route, if it has any */
  readonly route_metadata?: JsonObject;
};

/** One decision for each text, in order; each equals the decision for that text alone */
export type Decisions = {
  readonly results: readonly Decision[];
};

/** A sha256, as `sha256:<hex>` */
export type Digest = string;

export type DraftLintReport = {
  readonly digest: Digest;
  readonly routes: number;
  readonly utterances: number;
  /** Number of utterances that were left out in turn */
  readonly examined: number;
  /** Share of them that were classified into their own route; `null` if no route has two utterances */
  readonly accuracy: number | null;
  readonly counts: {
    readonly error: number;
    readonly warning: number;
    readonly info: number;
  };
  /** The most serious first */
  readonly findings: readonly Finding[];
  /** Number of further findings */
  readonly findings_hidden: number;
  /** Pairs of routes between which utterances are confused when left out */
  readonly confusions: readonly {
    readonly from: string;
    readonly to: string;
    readonly count: number;
  }[];
  readonly by_route: readonly {
    readonly name: string;
    readonly utterances: number;
    readonly examined: number;
    readonly recovered: number;
    /** Mean cosine similarity between the utterances of the route */
    readonly cohesion: number;
  }[];
  readonly warnings: readonly {
    readonly path: string;
    readonly message: string;
  }[];
};

/** Stable code for programs; the wording of messages may change */
export type ErrorCode = 'config_invalid' | 'manifest_invalid' | 'routes_invalid' | 'volume_unavailable' | 'volume_read_only' | 'volume_full' | 'volume_not_mounted' | 'volume_unstable' | 'blob_missing' | 'blob_corrupt' | 'source_not_found' | 'source_unauthorized' | 'source_rate_limited' | 'source_unreachable' | 'source_refused' | 'source_stalled' | 'source_truncated' | 'source_too_large' | 'source_wrong_bytes' | 'sources_exhausted' | 'model_unloadable' | 'canary_mismatch' | 'worker_failed' | 'not_ready' | 'overloaded' | 'draining' | 'timeout' | 'aborted' | 'bad_request' | 'headers_too_large' | 'request_timeout' | 'expectation_failed' | 'range_not_satisfiable' | 'malformed_json' | 'validation_failed' | 'unknown_route' | 'text_too_long' | 'body_too_large' | 'answer_too_large' | 'request_too_large' | 'unsupported_media_type' | 'not_found' | 'method_not_allowed' | 'precondition_required' | 'precondition_failed' | 'unauthorized' | 'forbidden' | 'rate_limited' | 'internal';

export type FieldIssue = {
  /** Path of the field, such as `texts[3]` or `routes[0].name` */
  readonly path: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
};

/** A possible improvement, with advice */
export type Finding = {
  readonly severity: 'error' | 'warning' | 'info';
  readonly kind: 'duplicate_across' | 'near_duplicate_across' | 'duplicate_within' | 'near_duplicate_within' | 'none_collision' | 'nearer_elsewhere' | 'outlier' | 'overlap' | 'too_small' | 'lopsided' | 'single_route' | 'hard_to_tell_apart';
  readonly routes: readonly string[];
  readonly utterances: readonly {
    readonly route: string;
    readonly utterance: string;
  }[];
  /** Cosine similarity, if the finding is about one */
  readonly similarity?: number;
  readonly message: string;
  readonly advice: string;
};

/** State of the daemon, and whether it can answer */
export type Health = {
  /** `degraded`: serving, with a problem that `checks` names */
  readonly status: 'starting' | 'ready' | 'degraded' | 'draining';
  readonly phase: 'verifying' | 'copying' | 'downloading' | 'waiting' | 'loading' | 'warming' | 'training' | 'ready' | 'failed' | 'draining';
  /** Progress of the phase, if it has any */
  readonly progress: {
    readonly done: number;
    readonly total: number;
    readonly unit: 'bytes' | 'utterances';
  } | null;
  readonly checks: {
    readonly volume: Check;
    readonly cache: Check;
    readonly model: Check;
    readonly routes: Check;
  };
  /** Seconds */
  readonly uptime_s: number;
  readonly version: string;
};

/** Possible improvements of a route set */
export type LintReport = {
  readonly digest: Digest;
  readonly routes: number;
  readonly utterances: number;
  /** Number of utterances that were left out in turn */
  readonly examined: number;
  /** Share of them that were classified into their own route; `null` if no route has two utterances */
  readonly accuracy: number | null;
  readonly counts: {
    readonly error: number;
    readonly warning: number;
    readonly info: number;
  };
  /** The most serious first */
  readonly findings: readonly Finding[];
  /** Number of further findings */
  readonly findings_hidden: number;
  /** Pairs of routes between which utterances are confused when left out */
  readonly confusions: readonly {
    readonly from: string;
    readonly to: string;
    readonly count: number;
  }[];
  readonly by_route: readonly {
    readonly name: string;
    readonly utterances: number;
    readonly examined: number;
    readonly recovered: number;
    /** Mean cosine similarity between the utterances of the route */
    readonly cohesion: number;
  }[];
};

/** Instead of `text`: a conversation in the format of chat APIs. The last turn of the user decides; see docs/decisions.md */
export type Messages = readonly {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function';
  readonly content?: string | readonly ({
    readonly type: 'text' | 'input_text' | 'output_text';
    readonly text: string;
  } | {
    readonly type: 'refusal';
    readonly refusal: string;
  } | {
    readonly type: 'tool_use' | 'tool_result' | 'thinking' | 'redacted_thinking';
  })[] | null;
}[];

/** The model that gave the answer */
export type Model = {
  readonly id: string;
  readonly revision: string;
  readonly variant: string;
  readonly digest: Digest;
};

/** A problem document (RFC 9457) */
export type Problem = {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  /** What is wrong, and what to do about it */
  readonly detail: string;
  /** The request id, as in `X-Request-Id` and the log */
  readonly instance: string;
  readonly code: ErrorCode;
  /** Name of the limit that was reached, if any */
  readonly gate?: 'connections' | 'body_bytes' | 'rate' | 'queue' | 'deadline' | 'answer_budget';
  /** All invalid fields */
  readonly errors?: readonly FieldIssue[];
};

/** A destination, with example texts */
export type Route = {
  readonly name: string;
  readonly description?: string;
  readonly utterances: readonly string[];
  readonly score_threshold?: number;
  readonly metadata?: JsonObject;
};

/** Result of a change */
export type RouteChange = {
  readonly digest: Digest;
  /** Whether the change had an effect */
  readonly changed: boolean;
  readonly source: RouteSource;
  readonly routes: number;
  readonly utterances: number;
  readonly warnings: readonly {
    readonly path: string;
    readonly message: string;
  }[];
};

/** The routes of one version */
export type RouteDocument = {
  readonly digest: Digest;
  /** How these routes are scored, whatever `CLASSIFY_METHOD` says */
  readonly method?: 'auto' | 'head' | 'nearest';
  readonly routes: readonly Route[];
  readonly none?: readonly string[];
};

/** A route; its name is in the path */
export type RouteInput = {
  readonly name?: string;
  readonly description?: string | '' | null;
  readonly utterances: readonly string[];
  readonly score_threshold?: number | null;
  readonly metadata?: JsonObject | null;
  /** Accepted in files of semantic-router and ignored */
  readonly function_schema?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly function_schemas?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly openai_function_schema?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly llm?: unknown;
  /** Minimum score of a chosen route, by the name that semantic-router uses */
  readonly confidence_threshold?: number | null;
};

/** The served routes */
export type RouteSet = {
  readonly digest: Digest;
  readonly source: RouteSource;
  /** Problem with the stored versions on the volume */
  readonly problem: string | null;
  readonly utterances: number;
  /** Minimum score of a route without a `score_threshold`; fitted to the utterances */
  readonly default_threshold: number;
  /** How these routes are scored, whatever `CLASSIFY_METHOD` says */
  readonly method?: 'auto' | 'head' | 'nearest';
  readonly routes: readonly Route[];
  /** Texts that belong to no route; similar texts get no route */
  readonly none?: readonly string[];
};

/** A set of routes, as in a routes file; names are unique */
export type RouteSetInput = {
  readonly method?: 'auto' | 'head' | 'nearest' | null;
  readonly routes: readonly {
    readonly name: string;
    readonly description?: string | '' | null;
    readonly utterances: readonly string[];
    readonly score_threshold?: number | null;
    readonly metadata?: JsonObject | null;
    /** Accepted in files of semantic-router and ignored */
    readonly function_schema?: unknown;
    /** Accepted in files of semantic-router and ignored */
    readonly function_schemas?: unknown;
    /** Accepted in files of semantic-router and ignored */
    readonly openai_function_schema?: unknown;
    /** Accepted in files of semantic-router and ignored */
    readonly llm?: unknown;
    /** Minimum score of a chosen route, by the name that semantic-router uses */
    readonly confidence_threshold?: number | null;
  }[];
  /** Texts that belong to no route; similar texts get no route */
  readonly none?: readonly string[] | null;
  /** Accepted in files of semantic-router and ignored */
  readonly encoder_type?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly encoder_name?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly encoder?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly router_type?: unknown;
  /** Accepted in files of semantic-router and ignored */
  readonly index?: unknown;
  /** Minimum score of a chosen route, by the name that semantic-router uses */
  readonly confidence_threshold?: number | null;
  /** Written by `GET /routes`; ignored in requests */
  readonly digest?: unknown;
  /** Written by `GET /routes`; ignored in requests */
  readonly source?: unknown;
  /** Written by `GET /routes`; ignored in requests */
  readonly problem?: unknown;
  /** Written by `GET /routes`; ignored in requests */
  readonly utterances?: unknown;
  /** Written by `GET /routes`; ignored in requests */
  readonly default_threshold?: unknown;
};

/** Where the routes come from: the file, or a change on top of it */
export type RouteSource = {
  readonly kind: 'file';
  readonly file: {
    readonly name: string;
    readonly digest: Digest | null;
  };
} | {
  readonly kind: 'version';
  readonly version: number;
  readonly action: 'file' | 'replace' | 'put' | 'delete' | 'rollback';
  readonly at: string;
  readonly file: {
    readonly name: string;
    readonly digest: Digest | null;
  };
};

export type RouteVersion = {
  readonly version: number;
  /** Digest of the routes, as in decisions */
  readonly digest: Digest;
  /** sha256 (hex) of the document's bytes; also its file name on the volume */
  readonly document: string;
  readonly action: 'file' | 'replace' | 'put' | 'delete' | 'rollback';
  /** The route that was added, replaced or removed */
  readonly route?: string;
  /** The version that a rollback restored */
  readonly restores?: number;
  /** Digest of the routes in the routes file at the time of the change */
  readonly based_on: Digest;
  readonly routes: number;
  readonly utterances: number;
  readonly at: string;
};

/** The history of the routes */
export type RouteVersions = {
  readonly current: number | null;
  readonly source: RouteSource | null;
  readonly problem: string | null;
  /** The newest first */
  readonly versions: readonly RouteVersion[];
};

/** Identity of the scorer: the same one on the same routes gives the same scores */
export type Scorer = {
  readonly method: 'head' | 'nearest';
  readonly version: number;
  readonly digest?: Digest;
};

export type Usage = {
  /** Tokens that the model read, including special tokens */
  readonly tokens: number;
  /** Tokens that were truncated */
  readonly truncated_tokens: number;
};

/** Findings and repairs of one verification */
export type VerificationReport = {
  /** Trigger: `boot`, `schedule`, `change`, `request` or `retry` */
  readonly reason: string;
  /** Whether every pinned file was verified in the end */
  readonly whole: boolean;
  readonly verified: readonly string[];
  readonly missing: readonly string[];
  readonly corrupt: readonly string[];
  readonly fetched: readonly string[];
  readonly started_at: string;
  readonly duration_ms: number;
  /** Files that were missing or corrupt and are verified again, with the time that took */
  readonly healed: readonly {
    readonly path: string;
    readonly after_ms: number;
  }[];
  readonly failures: readonly {
    readonly source: string;
    readonly path: string;
    readonly code: ErrorCode;
    readonly message: string;
  }[];
  readonly error: CacheProblem | null;
};
