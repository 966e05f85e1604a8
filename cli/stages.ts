// nvsnap stages [MODULE], and stages --new NAME

import { fault } from '../disk/index.js';
import {
  type Packaged,
  type SourceDescription,
  type StageDescription,
  type StageList,
  stageInfo,
  stages,
} from '../snapshot/index.js';
import { type NewStageKind, writeNewStage } from './new-stage.js';
import { columns, type Screen } from './screen.js';

/** Options of a module, a line each. */
const optionLines = (options: Readonly<Record<string, string>>, indent: string): string[] => {
  const width = Math.max(...Object.keys(options).map((name) => name.length)) + 1;
  return Object.entries(options).map(
    ([name, meaning]) => `${indent}${`${name}=`.padEnd(width)}  ${meaning}`,
  );
};

const table = (list: StageList): string[] =>
  columns(
    ['STAGE', 'OF', 'WHAT IT DOES'],
    Object.entries(list.lines).flatMap(([line, builtIn]) =>
      builtIn.map(({ name, summary }) => [name, line, summary]),
    ),
    [],
  ).split('\n');

/** One package, in a paragraph. */
const packageLines = <T extends { readonly summary: string; readonly options: object }>(
  packaged: Packaged<T>,
  headOf: (found: T) => string,
): string[] => {
  const { found, problem, packageVersion } = packaged;
  const from = `${packaged.package}${packageVersion === null ? '' : ` ${packageVersion}`}`;
  if (!found) return ['', from, `  ${problem}`];
  return [
    '',
    `${headOf(found)}; from ${from}`,
    ...(found.summary === '' ? [] : [`  ${found.summary}`]),
    ...optionLines({ ...found.options }, '  '),
  ];
};

const stageHead = ({ name, version, kind, places }: StageDescription): string =>
  `${name}, version ${version}: ${kind}, at ${places.join(', ')}`;

const sourceHead = ({ name }: SourceDescription): string => `${name}: dirty source`;

const allWords = (list: StageList): string =>
  [
    ...table(list),
    ...list.stages.flatMap((each) => packageLines(each, stageHead)),
    ...list.sources.flatMap((each) => packageLines(each, sourceHead)),
    ...(list.stages.length + list.sources.length > 0
      ? []
      : ['', 'No packages nvsnap-stage-… or nvsnap-source-… are installed here.']),
  ].join('\n');

const threadWords = ({ threads, light }: StageDescription): string => {
  if (light) return 'in the threads of the stage before it';
  if (threads === null) return 'in any number of threads';
  return threads === 1 ? 'in one thread' : `in at most ${threads} threads`;
};

const oneWords = (stage: StageDescription): string =>
  [
    stageHead(stage),
    ...(stage.summary === '' ? [] : [`  ${stage.summary}`]),
    ...optionLines(stage.options, '  '),
    `takes ${stage.takes.join(', ')} clusters${stage.makes.length > 0 ? ` and makes ${stage.makes.join(', ')}` : ''}, ` +
      `${threadWords(stage)}, within ${stage.patience} seconds a batch`,
  ].join('\n');

export default async (
  [module]: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { new: name, kind } = options as { new?: string; kind?: NewStageKind };
  if ((name !== undefined && module !== undefined) || (name === undefined && kind !== undefined)) {
    throw fault('usage', {
      problem: name === undefined ? '--kind goes with --new.' : '--new describes no module.',
      advice: 'See "nvsnap help stages".',
    });
  }
  if (name !== undefined) {
    const files = writeNewStage(name, kind ?? 'observer');
    screen.result({ files }, ({ files }) =>
      [
        `Wrote ${files.join(' and ')}.`,
        `Try it:  nvsnap take IMAGE STORE --stage ./${files[0]}`,
        `Test it: npm install --save-dev nvsnap && node --test ${files[1]}`,
      ].join('\n'),
    );
    return 0;
  }
  if (module !== undefined) {
    const described = await stageInfo(module);
    screen.result(described, oneWords);
    return 0;
  }
  const list = await stages();
  screen.result(list, allWords);
  return 0;
};
