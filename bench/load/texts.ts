const SUBJECTS = [
  'my card payment',
  'the last invoice',
  'this python script',
  'the weather report',
  'a hotel booking',
];
const VERBS = ['was declined', 'looks wrong', 'does not work', 'needs a summary', 'should be translated'];
const TIMES = ['today', 'this morning', 'since Monday', 'again', 'for my boss'];

/** The `n`-th text: about eleven tokens, and like no other. */
export function textOf(n: number): string {
  const pick = (list: readonly string[], by: number): string => list[Math.floor(n / by) % list.length] ?? '';
  return `${pick(SUBJECTS, 1)} ${n % 997} ${pick(VERBS, 5)} ${pick(TIMES, 25)} ${Math.floor(n / 997)}`;
}
