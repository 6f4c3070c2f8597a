import type { Frame } from './frames.js';

const WIDTH = 1_200;
const ROW = 17;
const CHAR = 6.2;
/** Narrower ones cannot be seen. */
const LEAST_WIDTH = 2;
/** A frame that passes this much of its time on to a single other one teaches nothing, unless it is our own. */
const MERE_PASSAGE = 0.95;
const COLORS = { own: '#7aa6d8', package: '#f0b775', node: '#cfcfcf', native: '#e39a94' } as const;

/** A flame graph as SVG: width is time, callers stand below what they call. */
export function flamePicture(root: Frame, title: string): string {
  const boxes: string[] = [];
  const scale = WIDTH / root.total;
  let deepest = 0;
  const draw = (frame: Frame, left: number, depth: number): void => {
    const width = frame.total * scale;
    if (width < LEAST_WIDTH) return;
    const children = [...frame.children.values()].sort((a, b) => b.total - a.total);
    const [first] = children;
    if (kindOf(frame) !== 'own' && first && first.total >= MERE_PASSAGE * frame.total) {
      draw(first, left, depth);
      return;
    }
    deepest = Math.max(deepest, depth);
    boxes.push(box(frame, { left, width, depth, share: frame.total / root.total }));
    let next = left;
    for (const child of children) {
      draw(child, next, depth + 1);
      next += child.total * scale;
    }
  };
  draw(root, 0, 0);
  const height = (deepest + 1) * ROW;
  const legend = Object.entries(COLORS).map(
    ([kind, color], index) =>
      `<rect x="${760 + index * 110}" y="7" width="12" height="12" fill="${color}"/><text x="${776 + index * 110}" y="17">${LEGEND[kind as Kind]}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height + 30}" role="img" aria-label="${escaped(title)}" font-family="monospace" font-size="10">`,
    `<title>${escaped(title)}</title><rect width="100%" height="100%" fill="#fff"/><text x="4" y="17" font-size="13">${escaped(title)}</text>`,
    ...legend,
    `<g transform="translate(0 ${height + 30 - ROW}) scale(1 -1)">`,
    ...boxes,
    '</g></svg>',
    '',
  ].join('\n');
}

type Kind = keyof typeof COLORS;
const LEGEND: Readonly<Record<Kind, string>> = {
  own: 'src',
  package: 'packages',
  node: 'Node',
  native: 'native, GC',
};

function kindOf({ source }: Frame): Kind {
  if (source.startsWith('src/')) return 'own';
  return source === 'node' || source === 'native' ? source : 'package';
}

function box(
  frame: Frame,
  { left, width, depth, share }: { left: number; width: number; depth: number; share: number },
): string {
  const place = frame.source === 'node' || frame.source === 'native' ? '' : ` ${frame.source}`;
  const label = `${frame.name}${place}`;
  const room = Math.floor((width - 4) / CHAR);
  const text = label.length <= room ? label : room < 4 ? '' : `${label.slice(0, room - 1)}…`;
  const y = depth * ROW;
  return (
    `<g><title>${escaped(label)}: ${(100 * share).toFixed(1)} %</title>` +
    `<rect x="${left.toFixed(1)}" y="${y}" width="${(width - 0.5).toFixed(1)}" height="${ROW - 1}" fill="${COLORS[kindOf(frame)]}"/>` +
    // The whole picture stands on its head, so that depth grows upwards; the text must not.
    (text === ''
      ? ''
      : `<text transform="translate(${(left + 3).toFixed(1)} ${y + 5}) scale(1 -1)">${escaped(text)}</text>`) +
    '</g>'
  );
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
