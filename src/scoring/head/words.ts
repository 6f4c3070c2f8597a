/**
 * Words beside meaning: a multinomial naive Bayes over words, pairs of words and the letters of words, by TF-IDF. An
 * embedding blurs what a single word may decide ("top up" and "top up by card"); its weight beside the embedding is
 * fitted, and may be zero.
 */

/** Features are hashed to so many buckets; of the 30,000 of a large set, a tenth share one. */
export const WORD_BUCKETS = 2 ** 18;
/** Characters of a text that count, so that a long one costs no more than 0.1 ms. */
const MOST_CHARS = 512;
/** Letters of a feature inside a word, its ends counting as one. */
const GRAM = { least: 2, most: 4 } as const;
/** Smoothing added to every count, in texts of length 1. */
const SMOOTHING = 0.01;
/** Different kinds of features begin with different hashes. */
const SEED = { grams: 0x811c9dc5, word: 0x2f0b4c47, pair: 0x5bd1e995 } as const;
const SPACE = 32;

/** The features of a text: buckets, none twice, and how often each occurs. */
export interface TextFeatures {
  readonly buckets: Uint32Array;
  readonly counts: Uint16Array;
}

/** Weights of words for routes. Plain numbers, as a head's file keeps them. */
export interface WordModel {
  readonly routes: number;
  /** IDF of a feature that no text of the set has. */
  readonly unknown: number;
  /** By route: log of its mass and all smoothing. */
  readonly masses: Float32Array;
  /** Buckets of the features that occur, ascending. */
  readonly buckets: Uint32Array;
  readonly idf: Float32Array;
  /** Feature `i` owns the entries from `offsets[i]` up to but without `offsets[i + 1]` of the following two. */
  readonly offsets: Uint32Array;
  readonly owners: Uint16Array;
  /** log(1 + count / smoothing) of a feature and a route. */
  readonly gains: Float32Array;
}

/** Returns the words of a text: runs of letters and digits, without case and accents. */
export function wordsOf(text: string): string[] {
  const plain = text
    .slice(0, MOST_CHARS)
    .normalize('NFKD')
    .replace(/[\p{M}\p{Cf}]+/gu, '')
    .toLowerCase();
  return plain.match(/[\p{L}\p{N}]+/gu) ?? [];
}

/**
 * Visits the buckets of a text's features.
 * @param visit gets the index of the word, and whether the feature is the pair of it and the next one
 */
function visitFeatures(
  words: readonly string[],
  visit: (bucket: number, word: number, pair: boolean) => void,
): void {
  let previous = 0;
  for (const [index, word] of words.entries()) {
    let hash: number = SEED.word;
    for (let i = 0; i < word.length; i += 1) hash = mix(hash, word.charCodeAt(i));
    visit(bucketOf(hash), index, false);
    if (index > 0) visit(bucketOf(mix(previous, hash)), index - 1, true);
    previous = mix(SEED.pair, hash);
    // The word with a space at both ends.
    for (let from = -1; from < word.length; from += 1) {
      let gram: number = SEED.grams;
      const to = Math.min(word.length, from + GRAM.most - 1);
      for (let at = from; at <= to; at += 1) {
        gram = mix(gram, at < 0 || at === word.length ? SPACE : word.charCodeAt(at));
        if (at - from + 1 >= GRAM.least) visit(bucketOf(gram), index, false);
      }
    }
  }
}

/** One step of FNV-1a over 32 bits. */
function mix(hash: number, value: number): number {
  return Math.imul(hash ^ value, 0x01000193) >>> 0;
}

function bucketOf(hash: number): number {
  const spread = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (spread ^ (spread >>> 13)) & (WORD_BUCKETS - 1);
}

/** Returns the features of a text, in the order in which they occur. */
export function featuresOf(text: string): TextFeatures {
  const all: number[] = [];
  visitFeatures(wordsOf(text), (bucket) => all.push(bucket));
  const buckets = new Uint32Array(all.length);
  const counts = new Uint16Array(all.length);
  // An open hash table of positions in `buckets`, from 1, at most half full: a Map takes six times as long.
  const mask = 2 ** Math.ceil(Math.log2(2 * all.length + 2)) - 1;
  const positions = new Uint16Array(mask + 1);
  let size = 0;
  for (const bucket of all) {
    let at = bucket & mask;
    while (positions[at] !== 0 && buckets[(positions[at] as number) - 1] !== bucket) at = (at + 1) & mask;
    if (positions[at] === 0) {
      buckets[size] = bucket;
      size += 1;
      positions[at] = size;
    }
    const position = (positions[at] as number) - 1;
    counts[position] = (counts[position] as number) + 1;
  }
  return { buckets: buckets.subarray(0, size), counts: counts.subarray(0, size) };
}

/** Texts to learn from, their features weighted by TF-IDF, each text to length 1; by feature. */
export interface WordCorpus {
  /** IDF of a feature that no text has. */
  readonly unknown: number;
  /** Buckets of all features, ascending, and their IDF. */
  readonly buckets: Uint32Array;
  readonly idf: Float64Array;
  /** Feature `i` owns the entries from `offsets[i]` up to but without `offsets[i + 1]` of the following two. */
  readonly offsets: Uint32Array;
  readonly texts: Uint32Array;
  readonly weights: Float64Array;
}

/** Weighs the features of texts, of which each counts for the IDF: that knows no routes. */
export function corpusOf(all: readonly TextFeatures[]): WordCorpus {
  /** By bucket: how many texts have it; then the position of the feature. */
  const found = new Uint32Array(WORD_BUCKETS);
  let size = 0;
  for (const { buckets } of all) {
    for (const bucket of buckets) {
      if (found[bucket] === 0) size += 1;
      found[bucket] = (found[bucket] as number) + 1;
    }
  }
  const idfOf = (frequency: number): number => Math.log((1 + all.length) / (1 + frequency)) + 1;
  const buckets = new Uint32Array(size);
  const idf = new Float64Array(size);
  const offsets = new Uint32Array(size + 1);
  for (let bucket = 0, feature = 0; feature < size; bucket += 1) {
    const frequency = found[bucket] as number;
    if (frequency === 0) continue;
    found[bucket] = feature;
    buckets[feature] = bucket;
    idf[feature] = idfOf(frequency);
    offsets[feature + 1] = (offsets[feature] as number) + frequency;
    feature += 1;
  }
  const next = offsets.slice();
  const texts = new Uint32Array(next[size] as number);
  const weights = new Float64Array(texts.length);
  const own: number[] = [];
  for (const [text, { buckets: features, counts }] of all.entries()) {
    let squares = 0;
    for (let i = 0; i < features.length; i += 1) {
      const feature = found[features[i] as number] as number;
      const weight = (1 + Math.log(counts[i] as number)) * (idf[feature] as number);
      own[i] = weight;
      squares += weight * weight;
    }
    const length = Math.sqrt(squares);
    for (let i = 0; i < features.length; i += 1) {
      const feature = found[features[i] as number] as number;
      const at = next[feature] as number;
      next[feature] = at + 1;
      texts[at] = text;
      weights[at] = (own[i] as number) / length;
    }
  }
  return { unknown: idfOf(0), buckets, idf, offsets, texts, weights };
}

/**
 * Learns from texts.
 * @param labels route of each text
 * @param counts whether a text counts
 */
export function trainWords(
  corpus: WordCorpus,
  labels: Uint32Array,
  routes: number,
  counts: (text: number) => boolean = () => true,
): WordModel {
  const counted = Uint8Array.from(labels, (_, text) => (counts(text) ? 1 : 0));
  const masses = new Float64Array(routes);
  const sums = new Float64Array(routes);
  /** Of these arrays, `size` and `entries` are used. */
  const known = new Uint32Array(corpus.buckets.length);
  const offsets = new Uint32Array(known.length + 1);
  const owners = new Uint16Array(corpus.texts.length);
  const gains = new Float32Array(corpus.texts.length);
  let size = 0;
  let entries = 0;
  for (let feature = 0; feature < corpus.buckets.length; feature += 1) {
    const first = entries;
    for (let at = corpus.offsets[feature] as number; at < (corpus.offsets[feature + 1] as number); at += 1) {
      const text = corpus.texts[at] as number;
      if (counted[text] === 0) continue;
      const route = labels[text] as number;
      const weight = corpus.weights[at] as number;
      if (sums[route] === 0) {
        owners[entries] = route;
        entries += 1;
      }
      sums[route] = (sums[route] as number) + weight;
      masses[route] = (masses[route] as number) + weight;
    }
    if (entries === first) continue;
    sortFew(owners, first, entries);
    for (let at = first; at < entries; at += 1) {
      const route = owners[at] as number;
      gains[at] = Math.log1p((sums[route] as number) / SMOOTHING);
      sums[route] = 0;
    }
    known[size] = feature;
    size += 1;
    offsets[size] = entries;
  }
  const smoothing = SMOOTHING * (1 + corpus.buckets.length);
  return {
    routes,
    unknown: Math.fround(corpus.unknown),
    masses: Float32Array.from(masses, (mass) => Math.log(mass + smoothing)),
    buckets: known.slice(0, size).map((feature) => corpus.buckets[feature] as number),
    idf: Float32Array.from(known.subarray(0, size), (feature) => corpus.idf[feature] as number),
    offsets: offsets.slice(0, size + 1),
    owners: owners.slice(0, entries),
    gains: gains.slice(0, entries),
  };
}

/** Sorts a part of an array by insertion: the routes of a feature's texts are few, and nearly in order. */
function sortFew(values: Uint16Array, from: number, to: number): void {
  for (let i = from + 1; i < to; i += 1) {
    const value = values[i] as number;
    let at = i;
    for (; at > from && (values[at - 1] as number) > value; at -= 1) values[at] = values[at - 1] as number;
    values[at] = value;
  }
}

/** Adds weighted rows, four in one turn: each sum is read and written once for them. */
function addRows(
  rows: Float32Array[],
  weights: number[],
  out: Float64Array | Float32Array,
  from: number,
): void {
  const [first] = rows;
  if (!first) return;
  while (rows.length % 4 > 0) {
    rows.push(first);
    weights.push(0);
  }
  for (let i = 0; i < rows.length; i += 4) {
    const [a, b, c, d] = rows.slice(i, i + 4) as [Float32Array, Float32Array, Float32Array, Float32Array];
    const [p, q, r, s] = weights.slice(i, i + 4) as [number, number, number, number];
    for (let route = 0; route < first.length; route += 1) {
      const at = from + route;
      out[at] =
        (out[at] as number) +
        p * (a[route] as number) +
        q * (b[route] as number) +
        r * (c[route] as number) +
        s * (d[route] as number);
    }
  }
}

/** A word, or two that follow each other, and what it says for a route. */
export interface WordEvidence {
  readonly text: string;
  readonly evidence: number;
}

/** Scores texts by a model. */
export class WordScorer {
  readonly #model: WordModel;
  /** Index of the feature of each bucket, from 1. */
  readonly #indexOf = new Uint32Array(WORD_BUCKETS);
  /** Gains of all routes, of features that at least half of the routes have: faster to add than one by one. */
  readonly #rows: (Float32Array | undefined)[] = [];

  constructor(model: WordModel) {
    const { routes, buckets, offsets, owners, gains } = model;
    this.#model = model;
    for (const [index, bucket] of buckets.entries()) {
      this.#indexOf[bucket] = index + 1;
      const from = offsets[index] as number;
      const end = offsets[index + 1] as number;
      if (2 * (end - from) < routes) continue;
      const row = new Float32Array(routes);
      for (let at = from; at < end; at += 1) row[owners[at] as number] = gains[at] as number;
      this.#rows[index] = row;
    }
  }

  /**
   * Writes the evidence for every route to `out`: 0 for all where the set knows nothing of the text.
   * @param from where `out` begins
   */
  score({ buckets, counts }: TextFeatures, out: Float64Array | Float32Array, from = 0): void {
    const { routes, unknown, masses, idf, offsets, owners, gains } = this.#model;
    out.fill(0, from, from + routes);
    let squares = 0;
    let known = 0;
    const rows: Float32Array[] = [];
    const weights: number[] = [];
    for (let i = 0; i < buckets.length; i += 1) {
      const index = (this.#indexOf[buckets[i] as number] as number) - 1;
      const count = counts[i] as number;
      const weight = (count === 1 ? 1 : 1 + Math.log(count)) * (index < 0 ? unknown : (idf[index] as number));
      squares += weight * weight;
      if (index < 0) continue;
      known += weight;
      const row = this.#rows[index];
      if (row) {
        rows.push(row);
        weights.push(weight);
        continue;
      }
      const end = offsets[index + 1] as number;
      for (let at = offsets[index] as number; at < end; at += 1) {
        const route = from + (owners[at] as number);
        out[route] = (out[route] as number) + weight * (gains[at] as number);
      }
    }
    addRows(rows, weights, out, from);
    const length = squares === 0 ? 1 : Math.sqrt(squares);
    for (let route = 0; route < routes; route += 1) {
      const at = from + route;
      out[at] = ((out[at] as number) - known * (masses[route] as number)) / length;
    }
  }

  /** Returns what each word of a text, and each pair, adds to a route's evidence beyond the mean of `others`. */
  explain(text: string, route: number, others: readonly number[]): WordEvidence[] {
    const { routes, unknown, masses, idf, offsets, owners, gains } = this.#model;
    const words = wordsOf(text);
    const { buckets, counts } = featuresOf(text);
    const times = new Map(Array.from(buckets, (bucket, i) => [bucket, counts[i] as number]));
    const gained = new Float64Array(routes);
    const found = new Map<string, number>();
    let squares = 0;
    for (const [bucket, count] of times) {
      const index = (this.#indexOf[bucket] as number) - 1;
      squares += ((1 + Math.log(count)) * (index < 0 ? unknown : (idf[index] as number))) ** 2;
    }
    visitFeatures(words, (bucket, word, pair) => {
      const index = (this.#indexOf[bucket] as number) - 1;
      if (index < 0) return;
      gained.fill(0);
      for (let at = offsets[index] as number; at < (offsets[index + 1] as number); at += 1) {
        gained[owners[at] as number] = gains[at] as number;
      }
      const gainOf = (one: number): number => (gained[one] as number) - (masses[one] as number);
      const mean = others.reduce((sum, one) => sum + gainOf(one), 0) / Math.max(1, others.length);
      const count = times.get(bucket) ?? 1;
      const weight = ((1 + Math.log(count)) * (idf[index] as number)) / Math.sqrt(squares) / count;
      const name = pair ? `${words[word]} ${words[word + 1]}` : (words[word] ?? '');
      found.set(name, (found.get(name) ?? 0) + weight * (gainOf(route) - mean));
    });
    return [...found].map(([name, evidence]) => ({ text: name, evidence }));
  }
}
