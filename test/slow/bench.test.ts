// Every case of the benchmark, small, and its report in a browser.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { CASES, type Report } from '../../bench/index.js';
import { bench, judgeBench } from '../tools/bench.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(600_000);

t.test('what a run says of itself is of one piece', async (t) => {
  const saved = join(tempDir(t), 'run.json');
  const cases = ['digests', 'stage-compress', 'overhead', 'timeline', 'verify', 'sparse'];
  const report = await judgeBench(t, cases, '--save', saved);
  t.same(JSON.parse(fs.readFileSync(saved, 'utf8')), report, 'what is saved is what is printed');
  const timeline = report.results.find((result) => result.case === 'timeline');
  t.ok(
    timeline?.spans?.some(({ stage }) => stage === 'compress'),
    'the take was watched',
  );
  t.ok(timeline?.spans?.every(({ from, to }) => from >= 0 && to >= from));
  for (const { stage, busyShare, inputShare, outputShare } of timeline?.insight?.stages ?? []) {
    t.ok(busyShare + inputShare + outputShare <= 1.1, `${stage}: no time is counted twice`);
  }
  const verify = report.results.find((result) => result.case === 'verify');
  t.equal(verify?.digest, timeline?.digest, 'the same image');
  t.ok((verify?.limits.length ?? 0) > 0, 'limits beside it');
  t.type(verify?.insight?.words, 'string');
});

t.test('kernels, stages and the pipeline', async (t) => {
  const { results } = await judgeBench(t, [...CASES.kernels, ...CASES.stages, ...CASES.pipeline]);
  const digestOf = (name: string) => results.find((result) => result.case === name)?.digest;
  t.equal(digestOf('encode'), digestOf('decode'), 'what is decoded is what was encoded');
  t.equal(digestOf('stage-decode'), digestOf('stage-deliver'), 'the same sample');
  const again = await judgeBench(t, ['digests', 'encode', 'tables', 'stage-compress']);
  for (const { case: name, digest } of again.results) {
    t.equal(digest, digestOf(name), `${name} makes the same from the same seed`);
  }
});

t.test('whole commands', async (t) => {
  const { results } = await judgeBench(t, CASES.commands);
  const dirty = results.find((result) => result.case === 'dirty');
  const sources = dirty?.laps.map(({ name }) => name) ?? [];
  t.ok(sources.includes('bitmap') && sources.includes('holes') && sources.includes('scan'));
  t.equal(
    sources.length + (dirty?.missing.length ?? 0),
    6,
    'five sources and a peer: run, or why not',
  );
  t.same(
    results
      .filter((result) => result.case === 'bulk')
      .flatMap(({ ratios }) => ratios.map((r) => r.beside)),
    ['single', 'processes'],
    'bulk is held against one image, and against processes',
  );
  for (const name of ['first', 'restore', 'next', 'none', 'update', 'verify']) {
    const found = results.find((result) => result.case === name);
    t.ok(
      (found?.limits.length ?? 0) > 0 && found?.insight !== undefined,
      `${name}: what limits it`,
    );
  }
});

t.test('scale', async (t) => {
  const { results } = await judgeBench(t, CASES.scale);
  const sizes = results
    .find((result) => result.case === 'by-codec')
    ?.laps.map(({ made }) => made ?? 0);
  t.ok(new Set(sizes).size > 3, 'codecs make files of several sizes', { sizes });
});

t.test('limits and pauses have as many rounds as there are', async (t) => {
  const { code, stdout, stderr } = await bench(
    ...['--size', '2M', '--big', '4M', '--rounds', '3', '--only', 'first,next,diff,pause'],
    ...['--dir', tempDir(t), '--json'],
  );
  t.equal(code, 0, stderr);
  for (const { title, laps, limits } of (JSON.parse(stdout) as Report).results) {
    for (const { name, milliseconds } of [...laps, ...limits]) {
      t.equal(milliseconds.length, 3, `${title}: ${name}`);
    }
  }
});

t.test('a dropped cache', async (t) => {
  const { code, stderr } = await bench(
    ...['--size', '2M', '--rounds', '1', '--only', 'zlib', '--cache', 'dropped'],
    ...['--dir', tempDir(t)],
  );
  t.equal(code, 0, stderr);
});

/** The page as Chromium has it once its script has run, in its light or its dark colours. */
const browse = (t: Parameters<typeof tempDir>[0], page: string, dark: boolean) => {
  const profile = tempDir(t);
  const { stdout, stderr, status } = spawnSync(
    'chromium',
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`],
      // A name that does not resolve: whatever the page asked for would be an error in the log.
      ...['--host-resolver-rules=MAP * ~NOTFOUND', '--enable-logging=stderr', '--log-level=0'],
      ...(dark ? ['--blink-settings=preferredColorScheme=0'] : []),
      ...['--dump-dom', pathToFileURL(page).href],
    ],
    { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 },
  );
  return { dom: stdout, said: stderr, status };
};

t.test('the report is drawn by a browser, from one file', async (t) => {
  const dir = tempDir(t);
  const page = join(dir, 'report.html');
  const { code, stderr } = await bench(
    ...['--size', '4M', '--rounds', '2', '--kernel-ms', '1', '--dir', dir, '--html', page],
    ...['--only', 'digests,stage-verify,timeline,zlib,by-pattern'],
  );
  t.equal(code, 0, stderr);
  const html = fs.readFileSync(page, 'utf8');
  t.notMatch(
    html,
    /<(?:link|img|iframe)\b|<script[^>]+src=|@import|url\(\s*["']?http/,
    'it names no other file',
  );
  t.match(html, /default-src 'none'/, 'and may ask for none');
  for (const dark of [false, true]) {
    const { dom, said, status } = browse(t, page, dark);
    t.equal(status, 0, said);
    t.notMatch(said, /Uncaught|Refused to|ERR_/, 'nothing goes wrong in it');
    // What the script put into the page, without the script.
    const body = dom.slice(0, dom.indexOf('<script type="application/json"'));
    const drawn = (id: string): string => {
      const [, after = ''] = body.split(`<div class="plot" id="${id}">`);
      return after.split(/<details|<div class="plot"/)[0] ?? '';
    };
    for (const id of [
      'plot-0',
      'plot-1',
      'shares-1',
      'plot-2',
      'shares-2',
      'timeline-2',
      'plot-3',
      'plot-4',
    ]) {
      t.match(drawn(id), /<svg/, `${id} is drawn`);
    }
    t.match(drawn('plot-0'), /<path[^>]+d="M[\d.]+,[\d.]+L?/, 'a curve has lines');
    t.ok((drawn('timeline-2').match(/<rect/g)?.length ?? 0) >= 3, 'a timeline has bars');
    t.match(drawn('plot-3'), /limit: zlib encode alone/, 'limits are beside');
    t.notMatch(body, /NaN|Infinity/);
  }
});

t.test('the page is light or dark as its reader wishes', async (t) => {
  const dir = tempDir(t);
  const page = join(dir, 'report.html');
  const ran = await bench(
    '--size',
    '1M',
    '--rounds',
    '1',
    '--only',
    'hops',
    '--dir',
    dir,
    '--html',
    page,
  );
  t.equal(ran.code, 0, ran.stderr);
  const probe = join(dir, 'probe.html');
  const script =
    '<script>document.title = getComputedStyle(document.body).backgroundColor + " " + ' +
    'getComputedStyle(document.querySelector("svg")).color</script></body>';
  fs.writeFileSync(probe, fs.readFileSync(page, 'utf8').replace('</body>', script));
  const colours = [false, true].map(
    (dark) => /<title>(.*?)<\/title>/.exec(browse(t, probe, dark).dom)?.[1],
  );
  t.same(colours, ['rgb(253, 253, 251) rgb(29, 31, 35)', 'rgb(22, 24, 28) rgb(228, 229, 232)']);
});
