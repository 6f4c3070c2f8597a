import { describe, expect, it } from 'vitest';
import {
  aurocOf,
  calibrationOf,
  flipProbability,
  quantile,
} from '../../../src/commands/evaluation/evaluation.js';

describe('AUROC', () => {
  it('is the chance that a positive is above a negative, ties counting half', () => {
    expect(aurocOf([0.9, 0.8], [0.1, 0.2])).toBe(1);
    expect(aurocOf([0.1, 0.2], [0.9, 0.8])).toBe(0);
    expect(aurocOf([0.5, 0.5], [0.5])).toBe(0.5);
    expect(aurocOf([0.9, 0.4, 0.6], [0.5, 0.4])).toBeCloseTo((2 + 0.5 + 2) / 6, 4);
    expect(aurocOf([], [0.5])).toBeNull();
  });
});

describe('calibration', () => {
  it('is the mean gap between score and truth, by texts', () => {
    const scored = [
      ...Array.from({ length: 8 }, () => ({ score: 0.85, right: true })),
      ...Array.from({ length: 2 }, () => ({ score: 0.85, right: false })),
      { score: 0, right: false },
      { score: 1, right: true },
    ];
    const { ece, bins } = calibrationOf(scored);
    expect(ece).toBeCloseTo((10 * 0.05) / 12, 4);
    expect(bins).toHaveLength(10);
    expect(bins[8]).toMatchObject({ texts: 10, confidence: 0.85, accuracy: 0.8 });
    expect(bins[9]).toMatchObject({ texts: 1, confidence: 1, accuracy: 1 });
    expect(bins[4]).toMatchObject({ texts: 0, confidence: null, accuracy: null });
  });
});

describe('flips', () => {
  it('are as improbable as those of a fair coin', () => {
    expect(flipProbability(0, 0)).toBe(1);
    expect(flipProbability(5, 5)).toBe(1);
    // 2 * (1 + 10) / 1024
    expect(flipProbability(9, 1)).toBeCloseTo(22 / 1024, 4);
    expect(flipProbability(1, 9)).toBe(flipProbability(9, 1));
    expect(flipProbability(2_000, 1_000)).toBe(0);
  });
});

it('quantiles', () => {
  expect(quantile([5, 1, 3], 0.5)).toBe(3);
  expect(quantile([], 0.5)).toBe(0);
  expect(quantile([1, 2, 3, 4], 1)).toBe(4);
});
