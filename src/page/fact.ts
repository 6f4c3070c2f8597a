import { el } from './dom.js';

/** One line of a list of facts. */
export function fact(name: string, value: Node | string, extent = ''): HTMLElement {
  return el('div', { class: extent }, el('dt', {}, name), el('dd', {}, value));
}
