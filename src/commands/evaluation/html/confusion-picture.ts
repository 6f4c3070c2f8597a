import type { Evaluation } from '../evaluation.js';
import { clip, escapeHtml, n, percent } from './markup.js';
import { orderByConfusion } from './order.js';

/** Width that the cells may take together, and bounds of a single one, in pixels. */
const CELLS_WIDTH = 880;
const CELL = { smallest: 5, largest: 40 } as const;
/** Cells from this size on have room for a number. */
const NUMBERS_FROM = 24;
/** Names are not written where they would be smaller than this. */
const SMALLEST_FONT = 5;
/** Share of a row at which a wrong cell has its full colour. */
const FULL_COLOUR_AT = 0.3;

interface Cell {
  readonly row: number;
  readonly column: number;
  readonly count: number;
  readonly right: boolean;
}

/**
 * The confusion matrix as an SVG: a row for each route that texts belong to, a column for each that they were sent
 * to. Only cells with something in them are drawn, so that hundreds of routes stay light.
 */
export function confusionPicture(evaluation: Evaluation): string {
  const { by_route, confusions, out_of_scope } = evaluation;
  const used = by_route.filter(({ texts, predicted }) => texts > 0 || predicted > 0);
  const routes = orderByConfusion(
    used.map(({ route }) => route),
    confusions,
  );
  const rows: (string | null)[] = out_of_scope.texts > 0 ? [...routes, null] : routes;
  const abstained = confusions.some(({ got }) => got === null) || out_of_scope.texts > 0;
  const columns: (string | null)[] = abstained ? [...routes, null] : routes;
  const totals = new Map<string | null, number>(used.map(({ route, texts }) => [route, texts]));
  totals.set(null, out_of_scope.texts);

  const size = Math.max(CELL.smallest, Math.min(CELL.largest, Math.floor(CELLS_WIDTH / columns.length)));
  const font = Math.min(13, size - 1.5);
  const longest = Math.max(...rows.concat(columns).map((name) => clip(labelOf(name), 34).length));
  const margin = font < SMALLEST_FONT ? 12 : Math.ceil(longest * font * 0.56) + 14;
  const width = margin + columns.length * size + 12;
  const height = margin + rows.length * size + 8;

  const cells = cellsOf(evaluation, rows, columns).map((cell) =>
    drawn(cell, rows, columns, totals, size, margin),
  );
  const labels =
    font < SMALLEST_FONT
      ? ''
      : `${rows
          .map((name, index) =>
            label(name, margin - 8, margin + (index + 0.5) * size + font * 0.35, 'end', font),
          )
          .join('')}${columns
          .map((name, index) => {
            const x = margin + (index + 0.5) * size + font * 0.35;
            return `<g transform="translate(${n(x)} ${n(margin - 8)}) rotate(-90)">${label(name, 0, 0, 'start', font)}</g>`;
          })
          .join('')}`;
  return `<div class="scroll"><svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Confusion matrix">
${grid(rows.length, columns.length, size, margin)}${labels}${cells.join('')}</svg></div>
<div class="legend"><span><i style="background:var(--good)"></i>sent where they belong (the stronger, the larger the part of the row)</span>
<span><i style="background:var(--bad)"></i>sent elsewhere (full from ${FULL_COLOUR_AT * 100} % of a row)</span><span>row: where a text belongs; column: where it was sent; point at a cell for its numbers</span></div>`;
}

function cellsOf(
  { by_route, confusions, out_of_scope }: Evaluation,
  rows: readonly (string | null)[],
  columns: readonly (string | null)[],
): Cell[] {
  const rowOf = new Map(rows.map((name, index) => [name, index]));
  const columnOf = new Map(columns.map((name, index) => [name, index]));
  const cells: Cell[] = [];
  const add = (expected: string | null, got: string | null, count: number, right: boolean): void => {
    const row = rowOf.get(expected);
    const column = columnOf.get(got);
    if (row !== undefined && column !== undefined && count > 0) cells.push({ row, column, count, right });
  };
  for (const { route, correct } of by_route) add(route, route, correct, true);
  add(null, null, Math.round((out_of_scope.rejected ?? 0) * out_of_scope.texts), true);
  for (const { expected, got, count } of confusions) add(expected, got, count, false);
  return cells;
}

function drawn(
  { row, column, count, right }: Cell,
  rows: readonly (string | null)[],
  columns: readonly (string | null)[],
  totals: ReadonlyMap<string | null, number>,
  size: number,
  margin: number,
): string {
  const expected = rows[row] ?? null;
  const total = totals.get(expected) ?? count;
  const share = count / Math.max(1, total);
  const opacity = right ? 0.12 + 0.88 * share : 0.22 + 0.78 * Math.min(1, share / FULL_COLOUR_AT);
  const x = margin + column * size;
  const y = margin + row * size;
  const title = `${labelOf(expected)} → ${labelOf(columns[column] ?? null, 'sent nowhere')}: ${count} of ${total} (${percent(share)})`;
  const rect = `<rect x="${n(x + 0.5)}" y="${n(y + 0.5)}" width="${n(size - 1)}" height="${n(size - 1)}" rx="${size > 16 ? 3 : 1}" fill="var(--${right ? 'good' : 'bad'})" fill-opacity="${n(opacity)}"><title>${escapeHtml(title)}</title></rect>`;
  if (size < NUMBERS_FROM) return rect;
  // White on a strong colour, in both themes; the surrounding colour's own text else.
  const fill = opacity > 0.6 ? ' style="fill:#fff"' : '';
  return `${rect}<text x="${n(x + size / 2)}" y="${n(y + size / 2 + 4)}" font-size="11" text-anchor="middle" pointer-events="none"${fill}>${count}</text>`;
}

function grid(rows: number, columns: number, size: number, margin: number): string {
  const right = margin + columns * size;
  const bottom = margin + rows * size;
  let path = '';
  for (let row = 0; row <= rows; row += 1) path += `M${margin} ${n(margin + row * size)}H${n(right)}`;
  for (let column = 0; column <= columns; column += 1) {
    path += `M${n(margin + column * size)} ${margin}V${n(bottom)}`;
  }
  return `<path d="${path}" stroke="var(--grid)" fill="none"/>`;
}

function label(name: string | null, x: number, y: number, anchor: string, font: number): string {
  const quiet = name === null ? ' class="quiet"' : '';
  return `<text x="${n(x)}" y="${n(y)}" font-size="${n(font)}" text-anchor="${anchor}"${quiet}>${escapeHtml(clip(labelOf(name), 34))}</text>`;
}

function labelOf(name: string | null, none = 'none'): string {
  return name ?? none;
}
