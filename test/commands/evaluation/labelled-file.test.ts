import { describe, expect, it } from 'vitest';
import { parseLabelled, resolveLabels } from '../../../src/commands/evaluation/labelled-file.js';

const pairs = (text: string, origin: string, options = {}) =>
  parseLabelled(text, { origin, ...options }).map(({ text: each, label }) => [each, label]);

describe('a labelled file', () => {
  it('is CSV with quotes, commas, line breaks and a byte-order mark', () => {
    const csv = '\uFEFFid,Text,Category\r\n1,"a, ""quoted""\nb",x\r\n\r\n2,plain,\r\n';
    expect(pairs(csv, 'a.csv')).toEqual([
      ['a, "quoted"\nb', 'x'],
      ['plain', null],
    ]);
  });

  it.each([
    ['query,intent', 'a.csv', ','],
    ['utterance\troute', 'a.tsv', '\t'],
    ['sentence,label', 'a.txt', ','],
    ['text;route', 'a.csv', ';'],
    ['text\troute', 'a.csv', '\t'],
  ])('with the columns %s is understood', (header, origin, by) => {
    expect(pairs(`${header}\nhi${by}x\n`, origin)).toEqual([['hi', 'x']]);
  });

  it('is JSON lines', () => {
    const lines = '{"query": "hi", "intent": "x"}\n\n{"query": "ho", "intent": null}\n{"query": "hu"}\n';
    expect(pairs(lines, 'a.jsonl')).toEqual([
      ['hi', 'x'],
      ['ho', null],
      ['hu', null],
    ]);
  });

  it('is JSON lines or an array under .json', () => {
    const lines = '\uFEFF{"text": "hi", "label": "x"}\r\n{"text": "ho", "label": null}\r\n';
    const array = '[\n  {"text": "hi", "label": "x"},\n  {"text": "ho", "label": null}\n]';
    for (const text of [lines, array, `\uFEFF${array}`]) {
      expect(pairs(text, 'a.json')).toEqual([
        ['hi', 'x'],
        ['ho', null],
      ]);
    }
    expect(parseLabelled(array, { origin: 'a.json' }).map(({ line }) => line)).toEqual([2, 3]);
    expect(() => parseLabelled('[\n{"text": "hi"},\n7]', { origin: 'a.json' })).toThrow(
      /a\.json:3: must be an object/,
    );
    expect(() => parseLabelled('[{"text": "hi"},', { origin: 'a.json' })).toThrow(/a\.json:1: not JSON/);
  });

  it('has quoted line breaks between semicolons', () => {
    expect(pairs('text;label\r\n"a\r\nb; c";x\r\n', 'a.csv')).toEqual([['a\r\nb; c', 'x']]);
  });

  it('has the columns that are named', () => {
    const options = { textColumn: 'q', labelColumn: 'want' };
    expect(pairs('text,q,want\nno,yes,x\n', 'a.csv', options)).toEqual([['yes', 'x']]);
  });

  it.each([
    ['', 'a.csv', /holds no texts/],
    ['text,label\n', 'a.csv', /holds no texts/],
    ['a,b\n1,2\n', 'a.csv', /which column is the text\? There are "a", "b"/],
    ['text,b\n1,2\n', 'a.csv', /which column is the label\?/],
    ['text,label\n"open,x\n', 'a.csv', /a\.csv:\d: has a quote that is never closed; eval reads CSV/],
    ['text,label\na,b,c\n', 'a.csv', /a\.csv:2: has more or fewer fields than the header/],
    ['text,label\nx,y\n ,y\n', 'a.csv', /a\.csv:3: "text" must be a text/],
    ['routes:\n', 'a.yaml', /a\.yaml: is YAML; eval reads CSV/],
    ['{}', 'a.json', /which column is the text/],
    ['{"text": "a", "label": 7}', 'a.jsonl', /a\.jsonl:1: "label" must be a route's name/],
    ['{"text": "a", "label": "b"}\n{', 'a.jsonl', /a\.jsonl:2: this line is not JSON; eval reads/],
    ['[]', 'a.jsonl', /holds no texts/],
    ['7', 'a.jsonl', /a\.jsonl:1: must be an object/],
  ])('%j is refused with its place', (text, origin, message) => {
    expect(() => parseLabelled(text, { origin })).toThrow(message);
  });
});

describe('labels', () => {
  const example = (label: string | null) => ({ text: 't', label, line: 1 });
  const names = new Set(['billing', 'oos']);

  it('of out-of-scope texts may be words, unless a route has that name', () => {
    const { cases } = resolveLabels(['billing', null, 'None', 'OOD', 'oos'].map(example), names, 'error');
    expect(cases.map(({ expected }) => expected)).toEqual(['billing', null, null, null, 'oos']);
  });

  it('that no route has are named with what may have been meant, or counted as told', () => {
    const strange = ['billing', 'biling', 'biling', 'other'].map(example);
    expect(() => resolveLabels(strange, names, 'error')).toThrow(
      /"biling" \(2×; is it "billing"\?\), "other" \(1×\)/,
    );
    expect(resolveLabels(strange, names, 'skip')).toMatchObject({
      skipped: 3,
      cases: [{ expected: 'billing' }],
    });
    expect(resolveLabels(strange, names, 'oos').cases.map(({ expected }) => expected)).toEqual([
      'billing',
      null,
      null,
      null,
    ]);
  });
});
