import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { formatBytes, formatDuration } from '../../src/commands/format.js';
import { Progress } from '../../src/commands/progress.js';

const CLEAR = '\r\u001b[K';

function show(isTTY: boolean, columns = 120) {
  const written: string[] = [];
  const stream = { isTTY, columns, write: (text: string) => written.push(text) };
  return { progress: new Progress(stream, 'bytes', 'model.onnx from hub'), written };
}

describe('progress', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is a bar on a terminal, with bytes, rate and time left, and is gone at the end', () => {
    const { progress, written } = show(true);
    for (let at = 1; at <= 50; at += 1) {
      progress.reached(at * 100_000, 10_000_000);
      vi.advanceTimersByTime(100);
    }
    const bar = written.at(-1) ?? '';
    expect(bar.startsWith(CLEAR)).toBe(true);
    expect(bar.slice(CLEAR.length)).toMatch(
      /^\[={12} {12}\] 50% {2}5\.0 MB of 10\.0 MB {2}1\.0 MB\/s {2}5\.\d s left {2}model\.onnx from hub$/,
    );
    progress.end();
    expect(written.at(-1)).toBe(CLEAR);
  });

  it('never breaks the line of a narrow terminal', () => {
    const { progress, written } = show(true, 40);
    progress.reached(0, 10_000_000);
    vi.advanceTimersByTime(100);
    const line = (written.at(-1) ?? '').replace(CLEAR, '');
    expect(line.length).toBeLessThan(40);
    // The numbers stay; bar and file give way.
    expect(line).toMatch(/^0% {2}0 bytes of 10\.0 MB {2}0 bytes\/s/);
    progress.end();
  });

  it('shows the end of a file name that is too long', () => {
    const { progress, written } = show(true, 60);
    progress.reached(5_000_000, 10_000_000);
    vi.advanceTimersByTime(1_000);
    expect(written.at(-1)).toMatch(/50% {2}5\.0 MB of 10\.0 MB .* left {2}….*from hub$/);
    progress.end();
  });

  it('is a line every few seconds elsewhere, whose rate leaves out what was there', () => {
    const written: string[] = [];
    const stream = { write: (text: string) => written.push(text) };
    const progress = new Progress(stream, 'bytes', 'model.onnx from hub', (shown) =>
      shown.reached(7_000_000, 10_000_000, undefined, 3_000_000),
    );
    vi.advanceTimersByTime(3_000);
    expect(written).toEqual([
      expect.stringMatching(
        /^70% {2}7\.0 MB of 10\.0 MB {2}1\.0 MB\/s {2}3\.\d s left {2}model\.onnx from hub\n$/,
      ),
    ]);
    progress.end();
  });

  it('goes from one piece of work to the next in the same line, and is not drawn before there is any', () => {
    const written: string[] = [];
    const stream = { isTTY: true, columns: 80, write: (text: string) => written.push(text) };
    const progress = new Progress(stream, 'texts', '');
    vi.advanceTimersByTime(1_000);
    expect(written).toEqual([]);
    progress.reached(4, 4, 'embedding');
    vi.advanceTimersByTime(1_000);
    for (const done of [1, 2]) {
      progress.reached(done, 8, 'comparing');
      vi.advanceTimersByTime(100);
    }
    expect(written.at(-1)).toMatch(/25% {2}2 of 8 {2}0\.\d s left {2}comparing$/);
    progress.end();
    expect(written.at(-1)).toBe(CLEAR);
  });
});

describe('words', () => {
  it.each([
    [0, '0 bytes'],
    [999, '999 bytes'],
    [1_000, '1.0 kB'],
    [22_972_370, '23.0 MB'],
    [2_147_483_648, '2.15 GB'],
  ])('%i bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [40, '0.0 s'],
    [9_400, '9.4 s'],
    [59_000, '59 s'],
    [185_000, '3 min 5 s'],
    [7_200_000, '2 h 0 min'],
  ])('%i ms are %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
