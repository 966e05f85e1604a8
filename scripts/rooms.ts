/**
 * Proves the floors of the house.
 *
 * Top-level folders are rooms. A room has one door, its `index.ts`, and may look only at the rooms
 * listed for it in FLOORS, so that imports go only down. The checker parses every file with the
 * TypeScript compiler (a pattern would trip over comments and strings), turns each import into an
 * edge between two files and judges edges, cycles and lengths. Imports of types count like any
 * other: a type that leaks upwards ties the rooms together just as a function does. Worker entries
 * are started by URL, not imported, and so are not edges.
 */

import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** A longer file holds more than one idea; no room needs one. */
export const MAX_LINES = 400;

/** May look into every room, through its door. */
const EVERY_DOOR = 'every door';

/** May import any file: the programs people run are outside the house. */
const EVERY_FILE = 'every file';

/** Has nothing but what the package exports, as its users have. */
const BY_NAME = 'nothing but the package by its name';

type View = readonly string[] | typeof EVERY_DOOR | typeof EVERY_FILE | typeof BY_NAME;

/** What each room may import, written out in full so that no one has to compute a closure. */
const FLOORS: ReadonlyMap<string, View> = new Map<string, View>([
  ['cli', ['bench', 'vm', 'bulk', 'snapshot', 'pipeline', 'disk']],
  ['bench', ['vm', 'bulk', 'snapshot', 'stages', 'dirty', 'qcow2', 'pipeline', 'disk']],
  ['vm', ['bulk', 'snapshot', 'disk']],
  ['bulk', ['snapshot', 'disk']],
  ['snapshot', ['stages', 'dirty', 'qcow2', 'pipeline', 'disk']],
  ['examine', ['stages', 'dirty', 'pipeline', 'disk']],
  ['stages', ['pipeline', 'disk']],
  ['dirty', ['disk']],
  ['qcow2', ['disk']],
  ['pipeline', ['disk']],
  ['disk', []],
  ['test', EVERY_DOOR],
  ['scripts', EVERY_FILE],
  ['examples', BY_NAME],
]);

/** One source file: its path from the root with forward slashes, and its text. */
export interface SourceText {
  readonly path: string;
  readonly text: string;
}

/** One import: `from` names the file, `specifier` is as written, `to` is the file it means. */
interface Edge {
  readonly from: string;
  readonly specifier: string;
  readonly to: string;
}

export type Violation =
  | { readonly kind: 'no-room'; readonly path: string }
  | { readonly kind: 'by-name'; readonly edge: Edge }
  | { readonly kind: 'by-path'; readonly edge: Edge }
  | { readonly kind: 'outside'; readonly edge: Edge }
  | { readonly kind: 'not-down'; readonly edge: Edge }
  | { readonly kind: 'side-door'; readonly edge: Edge }
  | { readonly kind: 'cycle'; readonly path: readonly string[] }
  | { readonly kind: 'too-long'; readonly path: string; readonly lines: number };

export interface Report {
  readonly files: number;
  readonly imports: number;
  /** Half of the files outside test/ are at most this long. */
  readonly medianLines: number;
  readonly violations: readonly Violation[];
}

/** Judges a whole tree. Pure, so that the tests can show it any tree. */
export function checkRooms(sources: readonly SourceText[]): Report {
  const edges = sources.flatMap(edgesOf);
  const measured = sources
    .filter((source) => roomOf(source.path) !== 'test')
    .map((source) => ({ path: source.path, lines: lineCount(source.text) }));
  return {
    files: sources.length,
    imports: edges.length,
    medianLines: median(measured.map((file) => file.lines)),
    violations: [
      ...sources.filter(hasNoRoom).map(({ path }) => ({ kind: 'no-room', path }) as const),
      ...edges.flatMap(judgeEdge),
      ...findCycles(edges).map((path) => ({ kind: 'cycle', path }) as const),
      ...measured
        .filter((file) => file.lines > MAX_LINES)
        .map((file) => ({ kind: 'too-long', ...file }) as const),
    ],
  };
}

/** Says what is wrong and what to do, in one sentence. */
export function sentence(violation: Violation): string {
  switch (violation.kind) {
    case 'no-room':
      return `${violation.path} lies in no room: move it into one, or give the new room a floor in scripts/rooms.ts.`;
    case 'by-name':
      return `${says(violation.edge)} by the package's name: use the relative path of the room's door.`;
    case 'by-path':
      return `${says(violation.edge)} by its path, which no user can: import 'nvsnap/stage'.`;
    case 'outside':
      return `${says(violation.edge)}, which lies in no room: keep imports inside the rooms.`;
    case 'not-down':
      return `${says(violation.edge)}, but ${roomOf(violation.edge.from)} may ${viewOf(violation.edge.from)}: imports go only down.`;
    case 'side-door':
      return `${says(violation.edge)} past the door: import '${doorFrom(violation.edge)}' instead.`;
    case 'cycle':
      return `${violation.path.join(' → ')} is a cycle: move what they share into a file of its own.`;
    case 'too-long':
      return `${violation.path} has ${violation.lines} lines, more than ${MAX_LINES}: split it.`;
  }
}

/** Reads every source file below `root`, but nothing that was installed or built. */
export function readSources(root: string): SourceText[] {
  return walk(root, '').map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
}

/** Depth first and sorted, so that two machines print the same report. */
function walk(root: string, folder: string): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return isForeign(entry.name) ? [] : walk(root, path);
    return isSource(path) ? [path] : [];
  });
}

/** All is TypeScript but the examples, which are for whoever writes JavaScript. */
function isSource(path: string): boolean {
  return /\.c?ts$/.test(path) || (roomOf(path) === 'examples' && path.endsWith('.js'));
}

/** Packages, compiled output and hidden folders (.git, .tap) are not the house. */
function isForeign(folder: string): boolean {
  return folder === 'node_modules' || folder === 'dist' || folder.startsWith('.');
}

/** Every import of the file that stays inside the project; packages are no concern of the floors. */
function edgesOf(source: SourceText): Edge[] {
  return specifiersOf(source)
    .filter((specifier) => isPath(specifier) || isOurName(specifier))
    .map((specifier) => ({ from: source.path, specifier, to: targetOf(source.path, specifier) }));
}

/** Walks the syntax tree, because imports also hide in expressions and in types. */
function specifiersOf(source: SourceText): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const name = moduleNameIn(node);
    if (name !== undefined && ts.isStringLiteralLike(name)) found.push(name.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(source.path, source.text, ts.ScriptTarget.ES2023));
  return found;
}

/** The syntax that names the imported module, in each of the forms TypeScript has for it. */
function moduleNameIn(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier;
  if (ts.isExternalModuleReference(node)) return node.expression;
  if (ts.isImportTypeNode(node))
    return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
  if (ts.isCallExpression(node) && isImportCall(node)) return node.arguments[0];
  return undefined;
}

/** `import(…)` and `require(…)`; a computed argument cannot be judged and is let through. */
function isImportCall(call: ts.CallExpression): boolean {
  const callee = call.expression;
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  return ts.isIdentifier(callee) && callee.text === 'require';
}

function isPath(specifier: string): boolean {
  return specifier.startsWith('.') || specifier.startsWith('/');
}

/** The package may import itself by name; inside the house that would be a second door. */
function isOurName(specifier: string): boolean {
  return specifier === 'nvsnap' || specifier.startsWith('nvsnap/');
}

/** Imports name the compiled file; the floors are about the source it comes from. */
function targetOf(from: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  return posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

/** The top-level folder, or '' for a file that lies beside the rooms. */
function roomOf(path: string): string {
  const slash = path.indexOf('/');
  return slash === -1 ? '' : path.slice(0, slash);
}

function hasNoRoom(source: SourceText): boolean {
  return !FLOORS.has(roomOf(source.path));
}

/** At most one violation per import: the first rule it breaks is the one to mend. */
function judgeEdge(edge: Edge): Violation[] {
  const here = roomOf(edge.from);
  const there = roomOf(edge.to);
  const view = FLOORS.get(here);
  if (view === undefined || view === EVERY_FILE || here === there) return [];
  if (view === BY_NAME) return isOurName(edge.specifier) ? [] : [{ kind: 'by-path', edge }];
  if (isOurName(edge.specifier)) return view === EVERY_DOOR ? [] : [{ kind: 'by-name', edge }];
  if (!FLOORS.has(there)) return [{ kind: 'outside', edge }];
  if (isOwnTest(edge.from, there)) return [];
  if (view !== EVERY_DOOR && !view.includes(there)) return [{ kind: 'not-down', edge }];
  return edge.specifier === doorFrom(edge) ? [] : [{ kind: 'side-door', edge }];
}

/** test/<room>/ sits inside its room, so to speak: it may test what the door does not show. */
function isOwnTest(from: string, room: string): boolean {
  return from.startsWith(`test/${room}/`);
}

/** The one spelling of a room's door as seen from a file: no detours, so that it can be searched. */
function doorFrom(edge: Edge): string {
  const up = '../'.repeat(edge.from.split('/').length - 1);
  return `${up}${roomOf(edge.to)}/index.js`;
}

/**
 * One cycle for each import that closes one, found depth first. Rooms cannot form a cycle when
 * every import goes down, but files within a room can, and then load in an order nobody chose.
 */
function findCycles(edges: readonly Edge[]): string[][] {
  const next = targetsByFile(edges);
  const finished = new Set<string>();
  const cycles: string[][] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file);
    if (start !== -1) cycles.push([...trail.slice(start), file]);
    if (start !== -1 || finished.has(file)) return;
    for (const to of next.get(file) ?? []) visit(to, [...trail, file]);
    finished.add(file);
  };
  for (const file of next.keys()) visit(file, []);
  return cycles;
}

/** The same edges keyed by where they start, to follow them without searching. */
function targetsByFile(edges: readonly Edge[]): Map<string, string[]> {
  const targets = new Map<string, string[]>();
  for (const { from, to } of edges) {
    const known = targets.get(from);
    if (known === undefined) targets.set(from, [to]);
    else known.push(to);
  }
  return targets;
}

/** Lines as an editor counts them: the newline at the end does not begin another. */
function lineCount(text: string): number {
  return text.replace(/\n$/, '').split('\n').length;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

function says(edge: Edge): string {
  return `${edge.from} imports '${edge.specifier}'`;
}

function viewOf(path: string): string {
  const view = FLOORS.get(roomOf(path)) ?? [];
  if (typeof view === 'string') return view === BY_NAME ? `import ${view}` : `open ${view}`;
  return view.length === 0 ? 'import no room' : `import only ${view.join(', ')}`;
}

/** Prints the report and returns the exit code. */
function main(root: string): number {
  const report = checkRooms(readSources(root));
  for (const violation of report.violations) console.error(`rooms: ${sentence(violation)}`);
  console.log(`rooms: the median file has ${report.medianLines} lines`);
  if (report.violations.length > 0) return 1;
  console.log(`rooms: ${report.files} files, ${report.imports} imports, floors hold`);
  return 0;
}

const program = process.argv[1];
if (program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv[2] ?? fileURLToPath(new URL('../..', import.meta.url)));
}
