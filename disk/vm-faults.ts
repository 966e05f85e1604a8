// The part of the catalogue that is about live machines and the points that are taken of them.

import { say } from './saying.js';

const LOOK = 'See whether QEMU is still running; every snapshot is as it was.';

export const VM_SAYINGS = {
  'qmp-unreachable': (d: { address: string; reason: string }) =>
    say(
      `The machine at ${d.address} cannot be reached: ${d.reason}.`,
      'Check that QEMU runs, and was started with "-qmp unix:PATH,server=on,wait=off".',
    ),
  'qmp-silent': (d: { address: string; waitedFor: string; seconds: number }) =>
    say(
      `The machine at ${d.address} has not ${d.waitedFor} within ${d.seconds} s.`,
      'QEMU serves one client of a QMP socket at a time: end the other one, or give QEMU a second socket.',
    ),
  'qmp-closed': (d: { address: string; during: string }) =>
    say(`The machine at ${d.address} ended the connection during ${d.during}.`, LOOK),
  'qmp-nonsense': (d: { address: string; problem: string }) =>
    say(
      `What answers at ${d.address} does not speak as QEMU does: ${d.problem}.`,
      'Check the address: it must be a QMP socket, not that of a monitor for people or of another program.',
    ),
  'qmp-refused': (d: { address: string; command: string; reason: string }) =>
    say(
      `QEMU at ${d.address} refused ${JSON.stringify(d.command)}: ${d.reason}.`,
      'The machine is as it was; docs/live.md says what it needs.',
    ),
  'vm-unsuitable': (d: { problem: string; advice: string }) => say(d.problem, d.advice),
  'vm-resumed': (d: { by: string }) =>
    say(
      `The machine went on before its memory was read: ${d.by}.`,
      'Nothing was saved; take it again, with a longer --max-pause if it needs more time.',
    ),
  'vm-stuck': (d: { address: string; reason: string }) =>
    say(
      `The machine at ${d.address} could not be told to go on: ${d.reason}.`,
      'The watchdog keeps trying for a minute; otherwise send "cont" to its QMP socket.',
    ),
  'vm-state-failed': (d: { reason: string; advice: string }) =>
    say(`The device state could not be moved: ${d.reason}.`, d.advice),
  'vm-differs': (d: { tag: string; problem: string; advice: string }) =>
    say(
      `This machine does not fit the point ${JSON.stringify(d.tag)}: ${d.problem}.`,
      `${d.advice} Nothing was loaded.`,
    ),
  'hook-failed': (d: { command: string; how: string }) =>
    say(
      `The command while the machine is paused (${d.command}) ${d.how}.`,
      'Nothing was saved, and the machine goes on; run the command by hand to see why.',
    ),
  'point-unknown': (d: { wanted: string; folder: string; known: string }) =>
    say(
      `${d.folder} has no point ${JSON.stringify(d.wanted)}.`,
      d.known === '' ? 'It holds no point yet.' : `It holds: ${d.known}.`,
    ),
  'point-taken': (d: { tag: string; folder: string }) =>
    say(
      `${d.folder} already has a point ${JSON.stringify(d.tag)}.`,
      'Choose another --tag, or leave it out to get one made from the time.',
    ),
  'point-damaged': (d: { tag: string; folder: string; problem: string }) =>
    say(
      `The point ${JSON.stringify(d.tag)} of ${d.folder} is not whole: ${d.problem}.`,
      'Use another point; what is left of this one goes with "nvsnap vm remove".',
    ),
  'points-busy': (d: { folder: string; holder: string }) =>
    say(
      `The points of ${d.folder} are being changed by ${d.holder}.`,
      'Wait until it is done and try again.',
    ),
} as const;
