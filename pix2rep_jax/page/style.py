"""The look of a page: light and dark, on a phone and on paper."""

__all__ = ["COLORS", "STYLE"]

COLORS = 6
"""Number of colours of series, the classes `c0`, `c1`, … of the style."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1c1f23;
  --soft: #5d6670; --line: #e1e4e2; --band: #f1f4f3; --answer: #e8f1f6;
  --c0: #0072b2; --c1: #c84e00; --c2: #00805c; --c3: #a8487f; --c4: #8a6d00;
  --c5: #3f4a54; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2024;
  --ink: #e6e9eb; --soft: #9aa4ad; --line: #30363c; --band: #232930;
  --answer: #17303f; --c0: #56b4e9; --c1: #f08c4a; --c2: #35c39a; --c3: #e39ac3;
  --c4: #e0c341; --c5: #b9c2ca; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
header h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .2rem; }
header p, .note, figcaption, caption { color: var(--soft); font-size: .9rem; }
header p { margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.1rem 1.25rem; margin: 1.1rem 0; }
section.answer { background: var(--answer); border-color: transparent; }
section.answer > p:first-of-type { font-size: 1.4rem; line-height: 1.3;
  font-weight: 600; margin: 0 0 .4rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 1.1rem 0 .3rem; }
p { margin: .4rem 0; }
.tiles { display: grid; gap: .8rem; margin: 1.1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: .7rem 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 650; }
.tile span { color: var(--soft); font-size: .85rem; }
/* A shade at each end behind which columns are hidden; the card covers the others. */
.wide { overflow-x: auto; background-repeat: no-repeat;
  background-image: linear-gradient(to right, var(--card) 40%, transparent),
    linear-gradient(to left, var(--card) 40%, transparent),
    linear-gradient(to right, #0004, transparent),
    linear-gradient(to left, #0004, transparent);
  background-position: left, right, left, right;
  background-size: 3rem 100%, 3rem 100%, .8rem 100%, .8rem 100%;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 600; }
tbody th { min-width: 8.5rem; }
thead th { color: var(--soft); font-size: .82rem; white-space: nowrap; }
td:not(.number) { min-width: 9rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
td small, .soft { color: var(--soft); }
svg { width: 100%; max-width: 32rem; height: auto; display: block; }
svg text { fill: var(--soft); font: 12.5px system-ui, sans-serif; }
svg text.name { fill: var(--ink); }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .zero { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
svg path.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .reach { stroke-width: 2.5; stroke-linecap: round; }
.charts { display: grid; gap: 1rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; }
figcaption { margin-top: .2rem; line-height: 1.35; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.cases figcaption b { display: block; }
.cases { display: grid; gap: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(45%, 9.5rem), 1fr)); }
.case { display: grid; gap: .9rem; margin: .8rem 0 1.2rem;
  grid-template-columns: repeat(var(--columns), minmax(0, 20rem)); }
.cases img, .case img { width: 100%; height: auto; display: block; border-radius: 6px;
  background: #000; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .88rem;
  margin: .4rem 0; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 3px;
  margin-right: .4rem; vertical-align: -.08rem; }
pre { background: var(--band); border-radius: 8px; padding: .7rem .9rem;
  margin: .4rem 0; overflow-x: auto;
  font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--soft); font-size: .92rem; }
footer { color: var(--soft); font-size: .88rem; }
@media (max-width: 40rem) { body { font-size: 15px; } section { padding: .9rem; }
  section.answer > p:first-of-type { font-size: 1.2rem; } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444;
  --answer: #fff; --line: #bbb; --band: #f4f4f4; } main { max-width: none; padding: 0; }
  section, .tile { break-inside: avoid; } section.long { break-inside: auto; }
  section.answer { border-color: #bbb; } pre { white-space: pre-wrap; } }
""" + "".join(
    f".c{i} {{ color: var(--c{i}); stroke: var(--c{i}); }} "
    f".legend i.c{i}, .dot.c{i} {{ background: var(--c{i}); fill: var(--c{i}); }}\n"
    for i in range(COLORS)
)
"""A style sheet without fonts, pictures or anything else from elsewhere."""
