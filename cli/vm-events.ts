// How a run about a machine is shown while it is under way.

import type { Progress } from '../snapshot/index.js';
import { createMachineEmitter, type MachineEmitter } from '../vm/index.js';
import { bar, type Screen } from './screen.js';

/** The regions' progress, added up. */
class Sum {
  readonly #regions = new Map<string, Progress>();

  add(region: string, progress: Progress): Parameters<typeof bar>[1] {
    this.#regions.set(region, progress);
    const all = [...this.#regions.values()];
    const sum = (of: (progress: Progress) => number): number =>
      all.reduce((total, each) => total + of(each), 0);
    const [doneBytes, totalBytes] = [sum((p) => p.doneBytes), sum((p) => p.totalBytes)];
    const bytesPerSecond = sum((p) => p.bytesPerSecond);
    const etaSeconds = bytesPerSecond > 0 ? (totalBytes - doneBytes) / bytesPerSecond : undefined;
    return { doneBytes, totalBytes, bytesPerSecond, etaSeconds };
  }
}

/** An emitter whose steps, progress and notices are shown as the options say. */
export const machineEvents = (screen: Screen, verb: string): MachineEmitter => {
  const events = createMachineEmitter();
  const sum = new Sum();
  if (screen.progress === 'json') {
    events.on('step', (step) => screen.jsonLine({ type: 'step', step }));
    events.on('progress', (region, p) => screen.jsonLine({ type: 'progress', region, ...p }));
  }
  if (screen.progress === 'line') {
    events.on('progress', (region, p) => screen.show(bar(verb, sum.add(region, p))));
  }
  events.on('notice', (sentence) => screen.notice(sentence));
  return events;
};
