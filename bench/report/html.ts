// The report as one HTML file that needs nothing else: style, script and figures are in it, and its policy forbids it to
// fetch anything. It follows the reader's choice of a light or dark page, and can be read without its script.

import fs from 'node:fs';
import type { Level } from '../options.js';
import type { Result } from '../result.js';
import type { Report } from '../run.js';
import { figureOf } from './figures.js';
import type { Drawing } from './page.js';
import { facts, isReached, rowsOf } from './table.js';

/** The script with its libraries, made by scripts/bundle.ts. */
const SCRIPT = new URL('./report-page.js', import.meta.url);

const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";

const HEADINGS: Readonly<Record<Level, string>> = {
  kernels: 'Kernels: one thread, in memory',
  stages: 'Stages, each alone',
  pipeline: 'The pipeline without its work',
  commands: 'Whole commands, beside limits and other programs',
  scale: 'How it scales',
};

const STYLE = `
:root { color-scheme: light dark; --page: #fdfdfb; --text: #1d1f23; --quiet: #61656e; --line: #d9dade;
  --ours: #2f6fb7; --peer: #b4762c; --limit: #6f8f3f; --fourth: #8a5aa8; --fifth: #8c8f96; --plot-background: #fdfdfb; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181c; --text: #e4e5e8; --quiet: #9da1aa; --line: #35383f;
    --ours: #6ea8ea; --peer: #e0a35a; --limit: #a4c76b; --fourth: #c092de; --fifth: #85888f; --plot-background: #16181c; }
}
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 0.15rem 0.7rem 0.15rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--quiet); font-weight: 600; }
.facts td { text-align: left; white-space: normal; } .facts td:first-child { color: var(--quiet); }
.plot { overflow-x: auto; } .quiet { color: var(--quiet); font-size: 13px; } figure { margin: 0; }
.missed { color: var(--peer); font-weight: 600; }
details { margin: 0.4rem 0; }
`;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};
const escaped = (text: string): string => text.replace(/[&<>"]/g, (sign) => ENTITIES[sign] ?? sign);

const row = (cells: readonly string[], cell: 'td' | 'th'): string =>
  `<tr>${cells.map((text) => `<${cell}>${escaped(text.trim())}</${cell}>`).join('')}</tr>`;

const tableOf = (result: Result): string => {
  const [head = [], ...rows] = rowsOf(result);
  return `<table>${row(head, 'th')}${rows.map((cells) => row(cells, 'td')).join('')}</table>`;
};

const missedWords = ({ ratios }: Result): string =>
  ratios
    .filter((ratio) => isReached(ratio) === false)
    .map(
      ({ beside, speed, goal }) =>
        `<p class="missed">Beside ${escaped(beside)} it should be ${goal?.toFixed(2)}× and is ${speed.toFixed(2)}×.</p>`,
    )
    .join('');

/** A plot is drawn where there is a place for it. */
const figuresOf = (result: Result, i: number): string => `
<div class="plot" id="plot-${i}"></div>
${missedWords(result)}
${result.insight ? `<p>${escaped(result.insight.words)}</p><div class="plot" id="shares-${i}"></div>` : ''}
${result.spans ? `<div class="plot" id="timeline-${i}"></div>` : ''}
<details${result.axis ? '' : ' open'}><summary>figures</summary>${tableOf(result)}</details>`;

const verifiedWords = ({ verified, digest }: Result): string =>
  `<p class="quiet">verified: ${escaped(verified.join(', '))}; digest ${escaped(digest)}</p>`;

const section = (result: Result, i: number): string => {
  const measured = result.laps.length > 0;
  return `
<h3 id="result-${i}">${escaped(`${result.case}: ${result.title}`)}</h3>
${measured ? figuresOf(result, i) : ''}
${result.missing.map((why) => `<p class="quiet">${escaped(why)}</p>`).join('')}
${measured ? verifiedWords(result) : ''}`;
};

const drawingOf = (result: Result): Drawing => ({
  title: result.title,
  figure: figureOf(result),
  axis: result.axis,
  insight: result.insight,
  spans: result.spans ?? [],
});

/** JSON that ends no element. */
const inlined = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

const htmlOf = (report: Report, script: string): string => {
  const { results } = report;
  const levels = [...new Set(results.map(({ level }) => level))];
  const sections = levels.map(
    (level) =>
      `<h2>${HEADINGS[level]}</h2>${results
        .map((result, i) => (result.level === level ? section(result, i) : ''))
        .join('')}`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width">
<title>nvsnap bench, ${escaped(report.date.slice(0, 10))}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>nvsnap bench</h1>
<table class="facts">${facts(report)
    .map((cells) => row(cells, 'td'))
    .join('')}</table>
<p>Bars are medians of the rounds; the line across a bar goes from its slowest to its fastest round. Limits are what no
program could beat: each is one part of the work, alone, with all processors.</p>
${sections.join('\n')}
<script type="application/json" id="drawings">${inlined(results.map(drawingOf))}</script>
<script>${script.replaceAll('</script', '<\\/script')}</script>
</body>
</html>
`;
};

/** Writes the report to a file. */
export const writeHtml = (report: Report, path: string): void =>
  fs.writeFileSync(path, htmlOf(report, fs.readFileSync(SCRIPT, 'utf8')));
