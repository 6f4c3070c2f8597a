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
  /** Bytes of a download so far */
  readonly bytes: number;
  readonly verified_at: string | null;
  readonly source: string | null;
  /** Why it is corrupt or cannot be had */
  readonly reason: string | null;
};

/** A named trouble with its explanation */
export type CacheProblem = {
  readonly code: ErrorCode;
  readonly message: string;
};

/** The volume and what it holds */
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
    readonly kind: 'verified' | 'missing' | 'corrupt' | 'quarantined' | 'downloaded' | 'repaired' | 'source_failed' | 'volume' | 'unstable' | 'failed';
    readonly path?: string;
    readonly message: string;
  }[];
};

/** One route that was considered */
export type Candidate = {
  readonly route: string;
  /** Confidence that this route is right */
  readonly score: number;
  /** Best cosine of the route's utterances */
  readonly similarity: number;
  /** With `explain`: lowest score with which it is chosen */
  readonly threshold?: number;
  /** With `explain`: the nearest first */
  readonly nearest?: readonly {
    readonly utterance: string;
    readonly similarity: number;
  }[];
  /** With `explain`: factor of the score, near 0 where the text is like no utterance or is not legible */
  readonly familiarity?: number;
  readonly contribution?: Contribution;
};

/** How one part is */
export type Check = {
  readonly ok: boolean;
  readonly code?: ErrorCode;
  readonly detail?: string;
  /** Of the routes that are served */
  readonly digest?: Digest;
  /** Seconds since the leader of `ROUTES_URL` confirmed these routes */
  readonly age_s?: number;
};

export type ClassifyBatchRequest = {
  readonly texts?: readonly string[];
  /** In place of `texts`: conversations */
  readonly messages?: readonly Messages[];
  /** How many candidates to return */
  readonly top_k?: number;
  /** Lowest score with which a route is chosen; comes before that of the route and the default */
  readonly threshold?: number;
  /** Only these routes are candidates; a name that is not served is refused */
  readonly routes?: readonly string[];
  /** Takes the place of the routes for this request (zero-shot); not beside `routes` */
  readonly labels?: readonly (string | {
    readonly name: string;
    readonly description?: string;
    readonly utterances?: readonly string[];
  })[];
  /** Adds every route that reaches its threshold, as `routes` */
  readonly multi?: boolean;
  /** Adds to each candidate the nearest utterances, and what its score is made of */
  readonly explain?: boolean;
};

export type ClassifyRequest = {
  readonly text?: string;
  readonly messages?: Messages;
  /** How many candidates to return */
  readonly top_k?: number;
  /** Lowest score with which a route is chosen; comes before that of the route and the default */
  readonly threshold?: number;
  /** Only these routes are candidates; a name that is not served is refused */
  readonly routes?: readonly string[];
  /** Takes the place of the routes for this request (zero-shot); not beside `routes` */
  readonly labels?: readonly (string | {
    readonly name: string;
    readonly description?: string;
    readonly utterances?: readonly string[];
  })[];
  /** Adds every route that reaches its threshold, as `routes` */
  readonly multi?: boolean;
  /** Adds to each candidate the nearest utterances, and what its score is made of */
  readonly explain?: boolean;
};

/** Parts of a score */
export type Contribution = {
  /** Share of the route among the candidates by the trained head alone */
  readonly head_probability: number;
  /** The same with similarity and words taken in */
  readonly probability: number;
  /** Terms of the log-odds of the score, before `familiarity` */
  readonly log_odds: {
    readonly head: number;
    readonly similarity: number;
    readonly bias: number;
  };
  /** Words, and pairs of them, that speak most for or against the route */
  readonly words: readonly {
    readonly text: string;
    readonly log_odds: number;
  }[];
};

/** Where a text should go */
export type Decision = {
  /** `null`: none reached its threshold */
  readonly route: string | null;
  /** Of the route; of the best candidate when there is no route */
  readonly score: number;
  /** Of the same */
  readonly similarity: number;
  /** Only where the model cannot read the text: it is mostly unknown, in a script that the model was not trained on, or in pieces of words. Scores are low then */
  readonly legible?: false;
  /** The best by score. The chosen route is not always the first: a better one may have missed a higher threshold of its own */
  readonly candidates: readonly Candidate[];
  /** With `multi` */
  readonly routes?: readonly {
    readonly route: string;
    readonly score: number;
    readonly similarity: number;
    readonly metadata?: JsonObject;
  }[];
  /** With `messages`: the turns of the user that were read; the one before the last only where the last reached no threshold */
  readonly turns?: readonly {
    /** Index of the message */
    readonly message: number;
    /** Its share in what was decided */
    readonly share: number;
    /** With `explain`: the beginning of what was read of it */
    readonly text?: string;
  }[];
  readonly usage: Usage;
  readonly model: Model;
  /** Of the route set, or of the labels that took its place */
  readonly routes_digest: Digest;
  readonly scorer: Scorer;
  /** Of the chosen route, where it has some */
  readonly route_metadata?: JsonObject;
};

/** In order of the texts, each equal to what the text gets alone */
export type Decisions = {
  readonly results: readonly Decision[];
};

/** A sha256, as `sha256:<hex>` */
export type Digest = string;

export type DraftLintReport = {
  readonly digest: Digest;
  readonly routes: number;
  readonly utterances: number;
  /** Utterances that were left out in turn */
  readonly examined: number;
  /** Which part of them found their way back to their route; `null` where no route has two utterances */
  readonly accuracy: number | null;
  readonly counts: {
    readonly error: number;
    readonly warning: number;
    readonly info: number;
  };
  /** The most serious first */
  readonly findings: readonly Finding[];
  /** How many more there are */
  readonly findings_hidden: number;
  /** Where utterances go when left out, as far as that is another route */
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
    /** Mean cosine between its utterances */
    readonly cohesion: number;
  }[];
  readonly warnings: readonly {
    readonly path: string;
    readonly message: string;
  }[];
};

/** For programs; it does not change with the wording */
export type ErrorCode = 'config_invalid' | 'manifest_invalid' | 'routes_invalid' | 'volume_unavailable' | 'volume_read_only' | 'volume_full' | 'volume_not_mounted' | 'volume_unstable' | 'blob_missing' | 'blob_corrupt' | 'source_not_found' | 'source_unauthorized' | 'source_rate_limited' | 'source_unreachable' | 'source_refused' | 'source_stalled' | 'source_truncated' | 'source_too_large' | 'source_wrong_bytes' | 'sources_exhausted' | 'model_unloadable' | 'canary_mismatch' | 'worker_failed' | 'not_ready' | 'overloaded' | 'draining' | 'timeout' | 'aborted' | 'bad_request' | 'headers_too_large' | 'request_timeout' | 'expectation_failed' | 'range_not_satisfiable' | 'malformed_json' | 'validation_failed' | 'unknown_route' | 'text_too_long' | 'body_too_large' | 'answer_too_large' | 'request_too_large' | 'unsupported_media_type' | 'not_found' | 'method_not_allowed' | 'precondition_required' | 'precondition_failed' | 'unauthorized' | 'forbidden' | 'rate_limited' | 'internal';

export type FieldIssue = {
  /** Which field, e.g. `texts[3]` or `routes[0].name` */
  readonly path: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
};

/** One thing that could be better, with what to do about it */
export type Finding = {
  readonly severity: 'error' | 'warning' | 'info';
  readonly kind: 'duplicate_across' | 'near_duplicate_across' | 'duplicate_within' | 'near_duplicate_within' | 'none_collision' | 'nearer_elsewhere' | 'outlier' | 'overlap' | 'too_small' | 'lopsided' | 'single_route' | 'hard_to_tell_apart';
  readonly routes: readonly string[];
  readonly utterances: readonly {
    readonly route: string;
    readonly utterance: string;
  }[];
  /** A cosine, where there is one to tell */
  readonly similarity?: number;
  readonly message: string;
  readonly advice: string;
};

/** How the daemon is, and whether it can answer */
export type Health = {
  /** `degraded` serves, but something named in `checks` needs care */
  readonly status: 'starting' | 'ready' | 'degraded' | 'draining';
  readonly phase: 'verifying' | 'downloading' | 'loading' | 'warming' | 'ready' | 'failed' | 'draining';
  /** Of a phase that has some */
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
  /** Utterances that were left out in turn */
  readonly examined: number;
  /** Which part of them found their way back to their route; `null` where no route has two utterances */
  readonly accuracy: number | null;
  readonly counts: {
    readonly error: number;
    readonly warning: number;
    readonly info: number;
  };
  /** The most serious first */
  readonly findings: readonly Finding[];
  /** How many more there are */
  readonly findings_hidden: number;
  /** Where utterances go when left out, as far as that is another route */
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
    /** Mean cosine between its utterances */
    readonly cohesion: number;
  }[];
};

/** In place of `text`: a conversation in the format of chat APIs, of which the last turn of the user decides; docs/decisions.md has the rules */
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

/** Which model gave the answer */
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
  /** The fault, and what to do about it */
  readonly detail: string;
  /** The request id, as in `X-Request-Id` and the log */
  readonly instance: string;
  readonly code: ErrorCode;
  /** The limit that was reached, if any */
  readonly gate?: 'connections' | 'body_bytes' | 'rate' | 'queue' | 'deadline' | 'answer_budget';
  /** Every wrong field at once */
  readonly errors?: readonly FieldIssue[];
};

/** One destination, with the texts that stand for it */
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
  /** Whether anything is different now */
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

/** A route; its name is the one in the path */
export type RouteInput = {
  readonly name?: string;
  readonly description?: string | '' | null;
  readonly utterances: readonly string[];
  readonly score_threshold?: number | null;
  readonly metadata?: JsonObject | null;
  /** Taken from semantic-router, and ignored */
  readonly function_schema?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly function_schemas?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly openai_function_schema?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly llm?: unknown;
  /** Lowest score of a choice, as semantic-router names it */
  readonly confidence_threshold?: number | null;
};

/** The routes that are served */
export type RouteSet = {
  readonly digest: Digest;
  readonly source: RouteSource;
  /** Fault of the versions on the volume */
  readonly problem: string | null;
  readonly utterances: number;
  /** Lowest score with which a route without a `score_threshold` is chosen; fitted to the utterances */
  readonly default_threshold: number;
  /** How these routes are scored, whatever `CLASSIFY_METHOD` says */
  readonly method?: 'auto' | 'head' | 'nearest';
  readonly routes: readonly Route[];
  /** Texts that belong to no route: what is like them is sent nowhere */
  readonly none?: readonly string[];
};

/** A whole set of routes, as in a routes file; no name twice */
export type RouteSetInput = {
  readonly method?: 'auto' | 'head' | 'nearest' | null;
  readonly routes: readonly {
    readonly name: string;
    readonly description?: string | '' | null;
    readonly utterances: readonly string[];
    readonly score_threshold?: number | null;
    readonly metadata?: JsonObject | null;
    /** Taken from semantic-router, and ignored */
    readonly function_schema?: unknown;
    /** Taken from semantic-router, and ignored */
    readonly function_schemas?: unknown;
    /** Taken from semantic-router, and ignored */
    readonly openai_function_schema?: unknown;
    /** Taken from semantic-router, and ignored */
    readonly llm?: unknown;
    /** Lowest score of a choice, as semantic-router names it */
    readonly confidence_threshold?: number | null;
  }[];
  /** Texts that belong to no route: what is like them is sent nowhere */
  readonly none?: readonly string[] | null;
  /** Taken from semantic-router, and ignored */
  readonly encoder_type?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly encoder_name?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly encoder?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly router_type?: unknown;
  /** Taken from semantic-router, and ignored */
  readonly index?: unknown;
  /** Lowest score of a choice, as semantic-router names it */
  readonly confidence_threshold?: number | null;
  /** Written by `GET /routes`, and ignored */
  readonly digest?: unknown;
  /** Written by `GET /routes`, and ignored */
  readonly source?: unknown;
  /** Written by `GET /routes`, and ignored */
  readonly problem?: unknown;
  /** Written by `GET /routes`, and ignored */
  readonly utterances?: unknown;
  /** Written by `GET /routes`, and ignored */
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
  /** Of the routes, as decisions name it */
  readonly digest: Digest;
  /** sha256 (hex) of the document's bytes, which is its name on the volume as well */
  readonly document: string;
  readonly action: 'file' | 'replace' | 'put' | 'delete' | 'rollback';
  /** The route that was put or deleted */
  readonly route?: string;
  /** The version that a rollback went back to */
  readonly restores?: number;
  /** Of the routes in the routes file when this was done */
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
  /** Tokens that the model saw, special tokens included */
  readonly tokens: number;
  /** Tokens that were cut */
  readonly truncated_tokens: number;
};

/** Findings and repairs of one verification */
export type VerificationReport = {
  /** Why it ran: `boot`, `schedule`, `change`, `request`, `retry` */
  readonly reason: string;
  /** Whether every pinned file was verified at the end */
  readonly whole: boolean;
  readonly verified: readonly string[];
  readonly missing: readonly string[];
  readonly corrupt: readonly string[];
  readonly fetched: readonly string[];
  readonly started_at: string;
  readonly duration_ms: number;
  /** Files that were not whole and are now, and how long after that was noticed */
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
