import { afterEach, describe, expect, it } from 'vitest';
import type { Source } from '../../../src/cache/source.js';
import { type Content, generated, pin, sliceOf } from '../../support/content.js';
import { collect, faultOf, fetchOne, never, wanted } from './collect.js';

/** A source that serves given files, and its end. */
export interface Subject {
  readonly source: Source;
  close(): Promise<void>;
}

/** How kinds of sources may differ. */
export interface ContractOptions {
  /** Handling of a file that the source lacks: an error, or it is left out. */
  missing: 'error' | 'left out';
  /** Whether the source starts in the middle of a file. */
  resumes: boolean;
}

/** Contract that the store relies on, whatever the source. */
export function describeSource(
  name: string,
  serve: (files: Readonly<Record<string, Content>>) => Promise<Subject>,
  { missing, resumes }: ContractOptions,
): void {
  describe(`${name} keeps the contract of a source`, () => {
    const config = Buffer.from('{"hidden_size":384}');
    const model = Buffer.from(generated(700_001).slice(0, 700_001));
    const files = { 'config.json': config, 'onnx/model.onnx': model };
    const pinned = { config: pin('config.json', config), model: pin('onnx/model.onnx', model) };
    const open: Subject[] = [];

    async function subject(content: Readonly<Record<string, Content>> = files): Promise<Source> {
      const started = await serve(content);
      open.push(started);
      return started.source;
    }
    afterEach(async () => {
      await Promise.all(open.splice(0).map((started) => started.close()));
    });

    it('delivers each wanted file, byte for byte', async () => {
      const arrived = await collect(await subject(), wanted(pinned.config, pinned.model));
      expect(arrived.map(({ path, offset }) => [path, offset])).toEqual([
        ['config.json', 0],
        ['onnx/model.onnx', 0],
      ]);
      expect(arrived[0]?.bytes.equals(config)).toBe(true);
      expect(arrived[1]?.bytes.equals(model)).toBe(true);
    });

    it('delivers nothing but what is wanted', async () => {
      const arrived = await collect(await subject(), wanted(pinned.model));
      expect(arrived.map(({ path }) => path)).toEqual(['onnx/model.onnx']);
    });

    it('says where its bytes begin when an offset is wanted', async () => {
      const { offset, bytes } = await fetchOne(await subject(), pinned.model, 123_456);
      expect(offset).toBe(resumes ? 123_456 : 0);
      expect(bytes.equals(sliceOf(model, offset, model.length))).toBe(true);
    });

    it('takes the whole file as an offset', async () => {
      const { offset, bytes } = await fetchOne(await subject(), pinned.model, model.length);
      expect(offset + bytes.length).toBe(model.length);
    });

    it('names a file that it lacks', async () => {
      const source = await subject();
      const lacking = pin('tokenizer.json', Buffer.from('{}'));
      if (missing === 'error') {
        expect((await faultOf(collect(source, wanted(lacking)))).code).toBe('source_not_found');
      } else {
        const arrived = await collect(source, wanted(lacking, pinned.config));
        expect(arrived.map(({ path }) => path)).toEqual(['config.json']);
        expect((await faultOf(collect(source, wanted(lacking)))).code).toBe('source_not_found');
      }
    });

    it.each([
      ['shorter', -1],
      ['longer', 1],
    ])('names a file that is %s than its pin', async (_, difference) => {
      const source = await subject();
      const other = { ...pinned.model, size: model.length - difference };
      const { code, message } = await faultOf(collect(source, wanted(other)));
      expect(['source_wrong_bytes', 'source_too_large']).toContain(code);
      expect(message).toContain('onnx/model.onnx');
    });

    it('goes on to the next file after one that was given up', async () => {
      const source = await subject();
      const seen: string[] = [];
      for await (const { file, bytes } of source.deliver(wanted(pinned.model, pinned.config), never)) {
        seen.push(file.path);
        for await (const piece of bytes) {
          expect(piece.length).toBeGreaterThan(0);
          break;
        }
      }
      expect(seen.sort()).toEqual(['config.json', 'onnx/model.onnx']);
    });

    it('can be left at any time, and used again', async () => {
      const source = await subject();
      for await (const _ of source.deliver(wanted(pinned.model), never)) break;
      expect((await fetchOne(source, pinned.model)).bytes.equals(model)).toBe(true);
    });

    it('stops when its signal says so', async () => {
      const source = await subject();
      const stop = new AbortController();
      const aborted = faultOf(
        (async () => {
          for await (const { bytes } of source.deliver(wanted(pinned.model, pinned.config), stop.signal)) {
            for await (const _ of bytes) stop.abort();
          }
        })(),
      );
      expect((await aborted).code).toBe('aborted');
      expect((await faultOf(collect(source, wanted(pinned.config), stop.signal))).code).toBe('aborted');
    });

    it('delivers as many files at once as it says', async () => {
      const source = await subject();
      const runs = Array.from({ length: source.concurrency }, () => fetchOne(source, pinned.model));
      for (const { bytes } of await Promise.all(runs)) expect(bytes.equals(model)).toBe(true);
    });
  });
}
