const SVG = 'http://www.w3.org/2000/svg';

/** Height of the picture's own coordinates; the style stretches it. */
const HEIGHT = 48;

/**
 * Draws the last values from left to right, the newest at the right edge; gaps are where nothing was measured. It
 * repeats the figure beside it, so that a screen reader passes over it.
 * @param width how many values fill it
 */
export function sparkline(values: readonly (number | undefined)[], width: number): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', `0 0 ${width - 1} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const from = width - values.length;
  let run: [number, number][] = [];
  const end = (): void => {
    const [first] = run;
    const last = run.at(-1);
    if (first && last) {
      // A single value would be a line without length.
      if (first === last) run.push([last[0] + 0.5, last[1]]);
      add(svg, 'polygon', [[first[0], HEIGHT], ...run, [(run.at(-1) ?? last)[0], HEIGHT]]);
      add(svg, 'polyline', run);
    }
    run = [];
  };
  for (const [index, value] of values.entries()) {
    if (value === undefined) end();
    else run.push([from + index, HEIGHT - (value / top) * (HEIGHT - 4)]);
  }
  end();
  return svg;
}

function add(svg: SVGSVGElement, name: 'polygon' | 'polyline', points: readonly (readonly number[])[]): void {
  const shape = document.createElementNS(SVG, name);
  shape.setAttribute('points', points.map(([x = 0, y = 0]) => `${x},${y.toFixed(1)}`).join(' '));
  svg.append(shape);
}
