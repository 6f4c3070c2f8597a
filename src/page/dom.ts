/** What may stand in an element; text stays text. */
export type Child = Node | string | number | false | null | undefined;

/** Attributes of an element (`false` and `undefined` leave one out), custom properties, and what a click does. */
export interface Props {
  readonly [attribute: string]: string | number | boolean | undefined | (() => void);
  readonly click?: () => void;
}

/** Makes an element. An attribute whose name starts with `--` becomes a custom property. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener('click', value);
    else if (name.startsWith('--')) element.style.setProperty(name, String(value));
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  fill(element, ...children);
  return element;
}

/** Replaces what is in an element. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(
    ...children.filter((child) => child !== false && child !== null && child !== undefined).map(nodeOf),
  );
}

function nodeOf(child: Child): Node {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** The element of the document with this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Sets text only when it differs, so that a screen reader is not told the same again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes a renderer that does nothing while its input stays the same, so that polling disturbs nobody's focus. */
export function whenChanged<T>(render: (value: T) => void): (value: T) => void {
  let last: string | undefined;
  return (value) => {
    const now = JSON.stringify(value);
    if (now === last) return;
    last = now;
    render(value);
  };
}
