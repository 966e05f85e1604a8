// The engine's own stages under the examiner, each in a line that gives it what it gets in a take or a restore.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import type { NestingExaminer } from '../../examine/index.js';
import { codingSteps, placeStep, stepsBefore, watched } from '../../examine/line.js';
import { examineStage } from '../../examine/stage.js';
import { StoreFile } from '../../examine/store-file.js';
import type { LineKind, LineSetting, StageLine, StageSubject } from '../../examine/subject.js';
import { type Batch, Kind, type MainStep, type StageUse, type Step } from '../../pipeline/index.js';
import * as stages from '../../stages/index.js';

const ONE = { threads: 1, early: false };
const BLANK = 0x33;

/** A step that looks at every live cluster. */
const each = (name: string, look: (batch: Batch, i: number) => void): MainStep => ({
  name,
  main: (batch) => {
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) look(batch, i);
  },
});

/** The image's bytes of a cluster. */
const truth = ({ image }: LineSetting, batch: Batch, i: number): Buffer => {
  const start = batch.offset + i * batch.layout.clusterSize;
  return image.subarray(start, start + batch.lengthOf(i));
};

const blank = each('blank', (batch, i) => batch.content(i).fill(BLANK));

/** Fails unless a cluster's bytes are those of the image. */
const expectTruth = (setting: LineSetting): MainStep =>
  each('expect', (batch, i) => {
    assert(batch.content(i).equals(truth(setting, batch, i)), `${batch.offset}, ${i}: its bytes`);
  });

const markZeros = each('zeros', (batch, i) => {
  if (batch.content(i).every((byte) => byte === 0)) batch.kinds[i] = Kind.zero;
});

/** One way to use a stage, in the image's place or the store's a file that goes with the run. */
const withFile = (
  name: string,
  make: (setting: LineSetting, file: StoreFile) => StageLine,
  more: Partial<LineKind> = {},
): LineKind => ({
  name,
  ...more,
  make(setting) {
    const file = new StoreFile();
    return { ...make(setting, file), close: () => file.close() };
  },
});

const subject = (
  name: string,
  lines: StageSubject['lines'],
  more: Partial<StageSubject> = {},
): StageSubject => ({
  name,
  takes: ['plain'],
  makes: [],
  changes: false,
  threads: Number.POSITIVE_INFINITY,
  patience: 60,
  lines,
  ...more,
});

const own = (use: StageUse, { watch, threads }: LineSetting): StageUse =>
  watched(use, watch, threads);

const scanLine = (dependent: boolean): LineKind =>
  withFile(
    dependent ? 'with a parent' : 'all of it',
    (setting, { spec }) => {
      const { image, digests } = setting;
      fs.writeSync(spec.fd, image);
      const options = { ...spec, size: image.length, seekable: true, digests, dependent };
      return {
        before: [blank],
        stages: [
          own(stages.scan(options, ONE), setting),
          ...(dependent ? [] : [expectTruth(setting)]),
        ],
      };
    },
    { undigested: true },
  );

const dedupLine = (undigested: boolean): LineKind => ({
  name: undigested ? 'of what has no digests' : 'of what scan has digested',
  undigested,
  make: (setting) => ({ before: [], stages: [own(stages.dedup(setting.digests, ONE), setting)] }),
});

const codecLine = (codec: stages.PackedCodec, level?: number): LineKind => ({
  name: `${codec}, level ${level ?? 'as usual'}`,
  codes: true,
  make: (setting) => ({
    before: [],
    stages: codingSteps(
      own(stages.compress({ codec, level }, ONE), setting),
      own(
        stages.decode(
          { codec, digests: setting.digests, tolerant: setting.wear !== undefined },
          ONE,
        ),
        setting,
      ),
      setting,
    ),
  }),
});

/** What is stored is what was in the batch. */
const expectStored = ({ spec }: StoreFile): MainStep =>
  each('stored', (batch, i) => {
    const kind = batch.kinds[i];
    if (kind !== Kind.plain && kind !== Kind.packed) return;
    const start = batch.starts[i] as number;
    const bytes =
      kind === Kind.plain
        ? batch.cluster(i)
        : batch.packed.subarray(start, start + (batch.lengths[i] as number));
    const stored = Buffer.alloc(bytes.length);
    fs.readSync(spec.fd, stored, 0, stored.length, batch.places[i] as number);
    assert(stored.equals(bytes), `${batch.offset}, ${i}: what is stored`);
  });

const placed = (packed: boolean, setting: LineSetting): Step[] => [
  ...stepsBefore('before:write', packed, setting),
  placeStep(),
];

const writeLine = (packed: boolean): LineKind =>
  withFile(packed ? 'of payloads' : 'of plain clusters', (setting, file) => ({
    before: placed(packed, setting),
    stages: [own(stages.write(file.spec, ONE), setting), expectStored(file)],
  }));

const fetchLine = (packed: boolean): LineKind =>
  withFile(packed ? 'of payloads' : 'of plain clusters', (setting, { spec }) => ({
    before: [
      ...placed(packed, setting),
      stages.write(spec, ONE),
      {
        name: 'forget',
        main: ({ data, packed: payloads }) => void [data, payloads].map((all) => all.fill(BLANK)),
      },
    ],
    stages: [
      own(stages.fetch(spec, ONE), setting),
      stages.decode({ codec: 'zstd' }, ONE),
      each('fetched', (batch, i) => {
        const kind = batch.kinds[i];
        if (kind !== Kind.plain && kind !== Kind.packed) return;
        assert(
          batch.content(i).equals(truth(setting, batch, i)),
          `${batch.offset}, ${i}: its bytes`,
        );
      }),
    ],
  }));

const verifyLine: LineKind = {
  name: 'of what is as it was',
  reads: true,
  undigested: true,
  make: (setting) => ({
    before: [markZeros],
    stages: [own({ ...stages.verify(setting.digests, ONE), wants: () => true }, setting)],
  }),
};

/** What was delivered is the image. */
const expectDelivered = (setting: LineSetting, { spec }: StoreFile): MainStep =>
  each('delivered', (batch, i) => {
    const wanted = truth(setting, batch, i);
    const found = Buffer.alloc(wanted.length);
    fs.readSync(spec.fd, found, 0, found.length, batch.offset + i * batch.layout.clusterSize);
    assert(found.equals(wanted), `${batch.offset}, ${i}: what was delivered`);
  });

const deliverLine = (manner: stages.Manner): LineKind =>
  withFile(`in the manner ${manner}`, (setting, file) => {
    const { image } = setting;
    const options = { output: file.spec, manner, start: 0, end: image.length, shift: 0 };
    fs.ftruncateSync(file.spec.fd, image.length);
    return {
      before: [markZeros],
      stages: [own(stages.deliver(options, ONE), setting), expectDelivered(setting, file)],
    };
  });

/** Every built-in stage; compress and decode undo each other. */
const SUBJECTS: readonly StageSubject[] = [
  subject('scan', [scanLine(false), scanLine(true)], { changes: true }),
  subject('dedup', [dedupLine(false), dedupLine(true)], { makes: ['zero', 'same'] }),
  subject('pad', [
    {
      name: 'in a take',
      make: (setting) => ({
        before: stepsBefore('before:pad', false, setting),
        stages: [own({ ...stages.pad(ONE), wants: () => true }, setting)],
      }),
    },
  ]),
  subject('compress and decode', [codecLine('zstd'), codecLine('zlib', 1), codecLine('lz4')]),
  subject('write', [writeLine(true), writeLine(false)], { takes: ['plain', 'packed'] }),
  subject('fetch', [fetchLine(true), fetchLine(false)], {
    takes: ['plain', 'packed'],
    changes: true,
  }),
  subject('verify', [verifyLine]),
  subject('deliver', [deliverLine('fresh'), deliverLine('over'), deliverLine('update')], {
    takes: ['plain', 'zero'],
    makes: ['same'],
  }),
  subject('deliver to a stream', [deliverLine('stream')], { threads: 1 }),
];

/** What a stage of the engine's is in stages/. */
export const BUILT_IN = SUBJECTS.flatMap(({ name }) => name.split(' and ')).filter(
  (name) => !name.includes(' '),
);

/** Examines all of them; `seed` chooses the content. */
export const examineBuiltIn = async (t: NestingExaminer, seed?: number): Promise<void> => {
  for (const subject of SUBJECTS)
    await examineStage(t, subject, seed === undefined ? {} : { seed });
};
