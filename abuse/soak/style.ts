/** The look of a report: light or dark as the reader's system is, and printable. */
export const STYLE = `
:root { color-scheme: light dark;
  --bg: #f6f7f9; --card: #ffffff; --fg: #1b2430; --muted: #647184; --line: #dde2e9; --grid: #edf0f4;
  --good: #2563a8; --bad: #d9480f; --warn: #b7791f; --up: #2b8a3e; --soft: #e8eef6; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #11151b; --card: #1a2029; --fg: #e3e8ef; --muted: #93a0b3; --line: #303947; --grid: #252d38;
  --good: #5b9fe3; --bad: #ff8552; --warn: #e0b04c; --up: #69c27d; --soft: #243042; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 0 0 12px; } .muted, figcaption { color: var(--muted); } small { color: var(--muted); }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
section { padding: 20px 24px; margin-top: 20px; }
.tiles { display: grid; grid-template-columns: repeat(var(--columns), 1fr); gap: 12px; margin-top: 20px; }
@media (max-width: 1000px) { .tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); } }
.tile { padding: 12px 16px; } .tile b { display: block; font-size: 26px; line-height: 1.3; font-weight: 600;
  font-variant-numeric: tabular-nums; } .tile span { color: var(--muted); font-size: 13px; display: block; line-height: 1.35; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 20px; }
.scroll { overflow-x: auto; } svg { display: block; max-width: 100%; height: auto; }
.scroll svg { max-width: none; }
svg text { fill: var(--fg); font-family: inherit; } svg .quiet { fill: var(--muted); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--grid); vertical-align: top; overflow-wrap: break-word; }
td:first-child { max-width: 480px; } td small { white-space: nowrap; } .num + :not(.num) { padding-left: 12px; }
td.num, th.num { text-align: right; white-space: nowrap; } tr:last-child td { border-bottom: 0; }
.bar { display: inline-block; width: 90px; height: 8px; border-radius: 4px; background: var(--soft); overflow: hidden;
  vertical-align: middle; margin-right: 8px; } .bar i { display: block; height: 100%; background: var(--good); }
.bar i.low { background: var(--bad); }
em { color: var(--muted); } details { margin: 2px 0; } section > details { margin-top: 12px; } summary { cursor: pointer; color: var(--muted); font-size: 13px; }
ul { margin: 4px 0; padding-left: 18px; } .up { color: var(--up); } .down { color: var(--bad); }
.legend { display: flex; gap: 18px; flex-wrap: wrap; font-size: 13px; color: var(--muted); margin-top: 10px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
`;

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Escapes text for an element or an attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (sign) => ENTITIES[sign] ?? sign);
}

/** A coordinate with two digits. */
export function n(value: number): string {
  return String(Math.round(value * 100) / 100);
}
