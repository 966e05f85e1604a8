// The examiner of stages: tries a user's stage in the engine that runs takes, and says what it does not hold.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Gap, Setting, Stage } from '../pipeline/index.js';
import { Pools } from '../pipeline/index.js';
import * as stages from '../stages/index.js';
import { CHECKS, type Check } from './checks.js';
import { codingSteps, placeStep, stepsBefore } from './line.js';
import type { NestingExaminer } from './runner.js';
import { StoreFile } from './store-file.js';
import type { LineKind, LineSetting, StageLine, StageSubject } from './subject.js';
import { Bench } from './trial.js';
import { WATCHED, type Watch } from './watch.js';
import { bearsDamage } from './wear.js';

export interface ContractOptions {
  /** Chooses the content of the images; the same for the same. Default: a random number, which is said. */
  readonly seed?: number;
  /** The folder from which a relative path counts. Default: the working directory. */
  readonly folder?: string;
  /** Called each time before the options are parsed: to take away what the stage wants to make anew. */
  readonly prepare?: () => void | Promise<void>;
}

/** Every test of a stage. */
const allChecks = ({ lines }: StageSubject): Readonly<Record<string, Check>> =>
  lines.some(({ codes }) => codes)
    ? { ...CHECKS, 'damaged payloads are noticed, and do no harm': bearsDamage }
    : CHECKS;

/** Examines a stage in the lines of `subject`: one test for each thing that must hold. */
const examineLines = async (
  t: NestingExaminer,
  subject: StageSubject,
  seed: number,
): Promise<void> => {
  const pools = new Map<number, Pools>();
  const poolsFor = (threads: number): Pools => {
    const known = pools.get(threads) ?? new Pools();
    pools.set(threads, known);
    return known;
  };
  const bench = new Bench(subject, seed, poolsFor);
  try {
    for (const [name, check] of Object.entries(allChecks(subject))) {
      await t.test(name, async (examination) => {
        await check(bench, subject);
        examination.pass?.('holds');
      });
    }
  } finally {
    await Promise.all([...pools.values()].map((each) => each.close()));
  }
};

const DEFAULT_PATIENCE = 60;
const DEFAULT_PLACE: readonly Gap[] = ['before:compress'];

const setting = (line: Pick<LineSetting, 'clusterSize' | 'strict'>, codec: string) => ({
  path: 'the store of the examination',
  store: randomUUID(),
  clusterSize: line.clusterSize,
  chain: undefined,
  codec,
  strict: line.strict,
});

/** The same stage, run by what watches it. */
const watching = (loaded: stages.LoadedStage, watch: Watch): stages.LoadedStage => {
  const { definition, url } = loaded;
  const { reversible } = definition;
  const parse = async (words: Readonly<Record<string, unknown>>, given: Setting) => {
    const options = await parsed(definition, words, given);
    return watch.wrap({ module: url, options }).options;
  };
  type Wrapped = { readonly options: unknown };
  const own = (options: unknown): unknown => (options as Wrapped).options;
  return {
    ...loaded,
    url: WATCHED,
    definition: {
      ...definition,
      parse,
      ...(reversible
        ? {
            reversible: {
              growth: reversible.growth,
              keeps: (options) => reversible.keeps?.(own(options)) ?? null,
              digestKey: (options) => reversible.digestKey?.(own(options)) as Uint8Array,
            },
          }
        : {}),
    },
  };
};

/** The same stage, with what has to be done before each use. */
const prepared = (loaded: stages.LoadedStage, { prepare }: ContractOptions): stages.LoadedStage => {
  if (!prepare) return loaded;
  const { definition } = loaded;
  const parse = async (words: Readonly<Record<string, unknown>>, given: Setting) => {
    await prepare();
    return parsed(definition, words, given);
  };
  return { ...loaded, definition: { ...definition, parse } };
};

/** A stage without a `parse` has no options. */
const parsed = (
  { parse }: Stage,
  words: Readonly<Record<string, unknown>>,
  given: Setting,
): unknown => {
  if (parse) return parse(words, given);
  const [word] = Object.keys(words);
  if (word !== undefined) throw new Error(`it has no option ${JSON.stringify(word)}`);
  return {};
};

/** A line in which the stage stands at `gap`. */
const standing = (loaded: stages.LoadedStage, at: Gap): LineKind => {
  const packed = loaded.definition.takes?.includes('packed') === true;
  return {
    name: at,
    undigested: loaded.definition.changes === true,
    async make(line): Promise<StageLine> {
      const stage = { ...watching(loaded, line.watch), at };
      const up = await stages.lineUp([stage], setting(line, packed ? 'zstd' : 'none'));
      const uses = up.usesAt(at, line.digests, () => line.threads);
      const before = stepsBefore(at, packed, line);
      if (at !== 'after:write') return { before, stages: uses };
      const store = new StoreFile();
      const written = [placeStep(), stages.write(store.spec, { threads: 1, early: false })];
      return { before: [...before, ...written], stages: uses, close: () => store.close() };
    },
  };
};

/** A line in which the stage encodes what `codec` makes, and decodes it again. */
const coding = (loaded: stages.LoadedStage, codec: 'none' | 'zstd'): LineKind => ({
  name: codec === 'none' ? 'of plain clusters' : `of what ${codec} makes`,
  codes: true,
  framed: true,
  async make(line): Promise<StageLine> {
    const up = await stages.lineUp([watching(loaded, line.watch)], setting(line, codec));
    const { links, patience, most, growth } = up;
    const shared = { level: undefined, links, patience, most };
    const crew = { threads: line.threads, early: false };
    const reader = codec === 'none' ? 'zlib' : codec;
    const tolerant = line.wear !== undefined;
    return {
      before: [],
      stages: codingSteps(
        stages.compress({ codec, ...shared }, crew),
        stages.decode({ codec: reader, digests: line.digests, tolerant, ...shared }, crew),
        line,
      ),
      growth,
    };
  },
});

const linesOf = (loaded: stages.LoadedStage): [LineKind, ...LineKind[]] => {
  const { reversible, takes = ['plain', 'packed'], at = DEFAULT_PLACE } = loaded.definition;
  const codecs = (['none', 'zstd'] as const).filter((codec) =>
    takes.includes(codec === 'none' ? 'plain' : 'packed'),
  );
  const lines = reversible
    ? codecs.map((codec) => coding(loaded, codec))
    : [loaded.at, ...at.filter((gap) => gap !== loaded.at)].map((gap) => standing(loaded, gap));
  const [first, ...rest] = lines;
  assert(first, 'it takes something that comes by');
  return [first, ...rest];
};

/** Its declaration in itself, and what it makes of its options. */
const declares = async (loaded: stages.LoadedStage): Promise<void> => {
  const { definition } = loaded;
  const codec = definition.takes?.includes('plain') === false ? 'zstd' : 'none';
  const folder = loaded.request.folder ?? process.cwd();
  const line = { ...setting({ clusterSize: 65536, strict: false }, codec), path: 'a new store' };
  const given = { ...line, folder };
  const { chain } = await stages.lineUp([loaded], line);
  const kept = chain[0]?.kept;
  const options = await parsed(definition, loaded.request.options, { ...given, kept: undefined });
  assert.doesNotThrow(() => structuredClone(options), 'its options can be sent to threads');
  // What a store keeps has been JSON when it comes back.
  const again = JSON.parse(JSON.stringify(chain)) as typeof chain;
  assert.deepEqual(again[0]?.kept, kept, 'what it keeps is the same when it was JSON');
  await stages.lineUp([loaded], { ...line, chain: again });
  const key = definition.reversible?.digestKey?.(options);
  if (key) {
    const told = JSON.stringify(again);
    const secret = (['hex', 'base64'] as const).map((form) => Buffer.from(key).toString(form));
    assert(!secret.some((word) => told.includes(word)), 'it does not keep the key of the digests');
  }
  const words = definition.usage ?? {};
  for (const word of Object.keys(loaded.request.options)) {
    assert(word in words, `its usage says what the option ${JSON.stringify(word)} means`);
  }
  for (const figure of Object.values(definition.conclude?.([]) ?? {})) {
    assert(
      typeof figure === 'string' || Number.isFinite(figure),
      `what it concludes from nothing is a word or a figure, not ${figure}`,
    );
  }
  await withoutOptions(definition, given);
};

/** Asked for without options it either works or says what is missing. */
const withoutOptions = async (definition: Stage, given: Omit<Setting, 'kept'>): Promise<void> => {
  try {
    const options = await parsed(definition, {}, { ...given, kept: undefined });
    assert.doesNotThrow(() => structuredClone(options), 'its options can be sent to threads');
  } catch (error) {
    assert(
      error instanceof Error && error.constructor === Error && error.message.length > 0,
      `without options it throws an Error that says what is wrong, not ${error}`,
    );
  }
};

const newSeed = (): number => Math.floor(Math.random() * 2 ** 31);

/** One test that holds all others: a runner that sees none under way thinks that it is at the end. */
const together = async (
  t: NestingExaminer,
  name: string,
  { seed = newSeed() }: ContractOptions,
  body: (t: NestingExaminer, seed: number) => Promise<void>,
): Promise<void> => {
  await t.test(`the stage ${name} (seed ${seed})`, (inner) => body(inner, seed));
};

/** Examines a stage of the engine's, or any other, in the lines of `subject`. */
export const examineStage = (
  t: NestingExaminer,
  subject: StageSubject,
  options: ContractOptions = {},
): Promise<void> =>
  together(t, subject.name, options, (inner, seed) => examineLines(inner, subject, seed));

/**
 * Examines a stage, as `use` asks for it: one test, and in it one for each thing that must hold. A test that fails names
 * what is not held, the line and the image offset. To be awaited.
 */
export const stageContract = (
  t: NestingExaminer,
  request: string | stages.StageRequest,
  options: ContractOptions = {},
): Promise<void> => {
  const { folder } = options;
  const asked = { ...stages.requestOf(request), ...(folder === undefined ? {} : { folder }) };
  return together(t, asked.module, options, async (inner, seed) => {
    let loaded: stages.LoadedStage | undefined;
    await inner.test('its declaration and its options are sound', async (examination) => {
      const [found] = await stages.loadStages([asked]);
      if (!found) return;
      loaded = prepared(found, options);
      await declares(loaded);
      examination.pass?.('holds');
    });
    // Otherwise the test above has failed.
    if (loaded) await examineLines(inner, subjectOf(loaded), seed);
  });
};

const subjectOf = (loaded: stages.LoadedStage): StageSubject => {
  const { definition, name } = loaded;
  return {
    name,
    takes: definition.takes ?? ['plain'],
    makes: definition.makes ?? [],
    changes: definition.changes ?? false,
    threads: definition.threads ?? Number.POSITIVE_INFINITY,
    patience: definition.patience ?? DEFAULT_PATIENCE,
    lines: linesOf(loaded),
  };
};
