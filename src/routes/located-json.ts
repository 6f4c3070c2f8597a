import {
  type Located,
  type LocatedEntry,
  type LocatedResult,
  MAX_DEPTH,
  repeatedKeys,
  type SyntaxFault,
} from './located.js';

const WHITESPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERAL = /true|false|null/y;
// Everything up to the closing quote; whether the escapes are good is left to JSON.parse.
const STRING = /"(?:[^"\\\n\r]|\\.)*"/y;

class JsonFault extends Error {
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

/**
 * Parses strict JSON (RFC 8259), keeping where each value stood. `JSON.parse` cannot: its messages often
 * carry no position, and of repeated keys it silently keeps the last.
 */
export function parseLocatedJson(text: string): LocatedResult {
  const repeated: SyntaxFault[] = [];
  try {
    const root = new JsonReader(text, repeated).document();
    return repeated.length === 0 ? { ok: true, root } : { ok: false, faults: repeated };
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    return { ok: false, faults: [...repeated, { offset: error.offset, message: error.message }] };
  }
}

class JsonReader {
  readonly #text: string;
  readonly #repeated: SyntaxFault[];
  #at = 0;

  constructor(text: string, repeated: SyntaxFault[]) {
    this.#text = text;
    this.#repeated = repeated;
  }

  document(): Located {
    const root = this.#value(0);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#unexpected('the end of the text');
    return root;
  }

  #value(depth: number): Located {
    this.#skipSpace();
    const offset = this.#at;
    if (depth > MAX_DEPTH) throw new JsonFault(offset, `nested deeper than ${MAX_DEPTH} levels`);
    const first = this.#text[offset];
    if (first === '{') return this.#map(depth, offset);
    if (first === '[') return this.#list(depth, offset);
    if (first === '"') return { kind: 'scalar', value: this.#string(), offset };
    const literal = this.#match(LITERAL);
    if (literal !== undefined) return { kind: 'scalar', value: JSON.parse(literal), offset };
    const number = this.#match(NUMBER);
    if (number !== undefined) return { kind: 'scalar', value: Number(number), offset };
    throw this.#unexpected('a value');
  }

  #map(depth: number, offset: number): Located {
    const entries: LocatedEntry[] = [];
    this.#at += 1;
    if (!this.#take('}')) {
      do {
        this.#skipSpace();
        const keyOffset = this.#at;
        if (this.#text[keyOffset] !== '"') throw this.#unexpected('a key in double quotes');
        const key = this.#string();
        if (!this.#take(':')) throw this.#unexpected('":"');
        entries.push({ key, keyOffset, value: this.#value(depth + 1) });
      } while (this.#take(','));
      if (!this.#take('}')) throw this.#unexpected('"," or "}"');
    }
    // Not spread into one call: a mapping may repeat more keys than a call takes arguments.
    for (const fault of repeatedKeys(entries)) this.#repeated.push(fault);
    return { kind: 'map', entries, offset };
  }

  #list(depth: number, offset: number): Located {
    const items: Located[] = [];
    this.#at += 1;
    if (!this.#take(']')) {
      do items.push(this.#value(depth + 1));
      while (this.#take(','));
      if (!this.#take(']')) throw this.#unexpected('"," or "]"');
    }
    return { kind: 'list', items, offset };
  }

  #string(): string {
    const offset = this.#at;
    const quoted = this.#match(STRING);
    if (quoted === undefined) throw new JsonFault(offset, 'this string is not closed on its line');
    try {
      return JSON.parse(quoted);
    } catch {
      throw new JsonFault(
        offset,
        'this string holds a control character or an escape that JSON does not know',
      );
    }
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #skipSpace(): void {
    this.#match(WHITESPACE);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #unexpected(wanted: string): JsonFault {
    const found = this.#text[this.#at];
    const what = found === undefined ? 'the text ends' : `found ${JSON.stringify(found)}`;
    return new JsonFault(this.#at, `not JSON: ${what} where ${wanted} was expected`);
  }
}
