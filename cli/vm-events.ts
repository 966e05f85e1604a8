// How a run about a machine is shown while it is under way.

import { createMachineEmitter, type MachineEmitter, ProgressSum } from '../vm/index.js';
import { bar, type Screen } from './screen.js';

/** An emitter whose steps, progress and notices are shown as the options say. */
export const machineEvents = (screen: Screen, verb: string): MachineEmitter => {
  const events = createMachineEmitter();
  const sum = new ProgressSum();
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
