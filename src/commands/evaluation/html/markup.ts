import { basename } from 'node:path';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it may stand in an element or an attribute, whatever is in it. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? sign);
}

/** A share as a percentage with one digit; a dash for a share of nothing. */
export function percent(share: number | null, digits = 1): string {
  return share === null ? '–' : `${(share * 100).toFixed(digits)} %`;
}

/** A route's name, which may be broken after an underscore, or words for none. */
export function routeName(route: string | null, none: string): string {
  return route === null ? `<em>${none}</em>` : escapeHtml(route).replaceAll('_', '_<wbr>');
}

/** A text that is too long for its place, cut. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** A coordinate, short. */
export function n(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** A page is passed on: whose folders the files stood in is nobody's business. */
export function shortName(name: string): string {
  return /^https?:/.test(name) ? name : basename(name);
}
