// A process of its own that makes sure a paused machine goes on. It is started before the pause, shares our connection
// to QEMU (a QMP socket serves one client at a time), and hears from us through a pipe:
//
//     {order}      "on guard"     what to put back, and where
//     begin        "on guard"     the machine is about to be stopped: the clock runs
//     dismissed                   the machine goes on: there is nothing left to do
//     (the end)                   whoever started it is gone: end the migration, go on, put the settings back
//
// When the time is over and its owner still lives, that one reads the answers; it only writes down what QEMU shall do.

import fs from 'node:fs';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, reasonOf } from '../disk/index.js';
import { endMigration, restoreSettings } from './migration.js';
import { isAlive } from './process.js';
import { Qmp } from './qmp.js';
import type { WatchOrder } from './watch-order.js';

/** The descriptor that it inherits. */
const CONNECTION_FD = 3;
/** So long it tries, and so long a migration may take to end. */
const PATIENCE_MS = 60_000;
const MIGRATION_MS = 5_000;
const RETRY_MS = 200;

const say = (words: string): void => {
  process.stderr.write(`${new Date().toISOString()} watchdog ${process.pid}: ${words}\n`);
};

/** Tells QEMU to go on, without looking at what it answers: its owner does. */
const shout = (): void => {
  const words = ['migrate_cancel', 'cont'].map((execute) =>
    JSON.stringify({ execute, id: `watchdog-${process.pid}` }),
  );
  try {
    fs.writeSync(CONNECTION_FD, `${words.join('\n')}\n`);
  } catch (error) {
    say(`QEMU cannot be told: ${reasonOf(error)}`);
  }
};

const recover = async (qmp: Qmp, { running, settings }: WatchOrder): Promise<string> => {
  await endMigration(qmp, MIGRATION_MS);
  const before = await qmp.execute('query-status');
  if (running && !before.running) await qmp.execute('cont');
  await restoreSettings(qmp, settings);
  const after = await qmp.execute('query-status');
  return before.running ? 'the machine was running' : `the machine is ${after.status} again`;
};

/** Does so on the connection that is there, and on a new one where that is dead. */
const recoverSomehow = async (order: WatchOrder): Promise<void> => {
  const until = performance.now() + PATIENCE_MS;
  let qmp = Qmp.takeOver(order.address, new Socket({ fd: CONNECTION_FD }));
  for (;;) {
    try {
      return say(await recover(qmp, order));
    } catch (error) {
      if (performance.now() > until) return say(`gave up: ${reasonOf(error)}`);
      if (order.pid !== null && !isAlive(order.pid)) return say('QEMU is gone too');
      qmp.close();
    }
    await sleep(RETRY_MS);
    try {
      qmp = await Qmp.connect(order.address);
    } catch (error) {
      if (error instanceof Fault && error.code === 'qmp-unreachable')
        return say('QEMU is gone too');
      if (performance.now() > until) return say(`gave up: ${reasonOf(error)}`);
    }
  }
};

const main = async (): Promise<void> => {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {});
  let order: WatchOrder | undefined;
  let timer: NodeJS.Timeout | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'dismissed') process.exit(0);
    if (line === 'begin') {
      const limit = order?.maxPauseMs ?? 0;
      timer = setTimeout(() => {
        say(`the machine was paused for more than ${limit / 1000} s: told it to go on`);
        if (order?.running) shout();
      }, limit);
    } else order = JSON.parse(line) as WatchOrder;
    process.stdout.write('on guard\n');
  }
  clearTimeout(timer);
  if (!order) return;
  say(`process ${order.owner} is gone before it was done`);
  await recoverSomehow(order);
  if (order.litter !== null) fs.rmSync(order.litter, { recursive: true, force: true });
};

void main().then(() => process.exit(0));
