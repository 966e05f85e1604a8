// A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec in QEMU's source): lines of JSON over a socket. The
// peer greets, is told which capabilities are wanted, and then answers each command by its id, with events in between.
//
// Nothing that comes in is believed before it has been looked at. A peer that is silent, closes, or talks nonsense ends
// what waits for it with a fault; one that answers what nobody has asked is not listened to.

import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, Fault, fault, MiB, reasonOf } from '../disk/index.js';
import { type Address, formatAddress } from './address.js';
import {
  ANSWERS,
  type Answer,
  type ArgumentsOf,
  answerLine,
  type CommandName,
  eventLine,
  greeting,
  type QemuVersion,
  refusalLine,
} from './commands.js';
import { LineReader } from './lines.js';

/** The longest answer, that of "query-block" with hundreds of disks, has a tenth of this. */
const MAX_LINE_BYTES = 4 * MiB;
/** QEMU answers in milliseconds; on a machine that swaps, in seconds. */
export const ANSWER_MS = 10_000;
const RETRY_MS = 50;
/** Of an error's words, so much is shown. */
const SHOWN = 300;

/** Errors of a socket whose server is just being started, or started anew. */
const NOT_YET: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'EAGAIN']);

export interface QmpEvent {
  readonly event: string;
  /** By the peer's clock, in milliseconds since 1970. */
  readonly atMs: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  /** A server that is not there yet is waited for so long. */
  readonly waitMs?: number | undefined;
  /** Until an answer must be there. */
  readonly answerMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly command: string;
  resolve(answer: unknown): void;
  reject(error: Fault): void;
}

type Listener = (event: QmpEvent) => void;

export class Qmp {
  readonly address: string;
  readonly socket: Socket;
  readonly #answerMs: number;
  readonly #prefix: string;
  readonly #lines = new LineReader(MAX_LINE_BYTES);
  readonly #pending = new Map<string, Pending>();
  readonly #listeners = new Set<Listener>();
  #count = 0;
  #closed: ((during: string) => Fault) | undefined;
  #greeted: ((line: unknown) => void) | undefined;
  /** Of a connection that was taken over, the first line may have lost its beginning. */
  #mayBeTorn: boolean;
  version: QemuVersion | undefined;

  private constructor(address: string, socket: Socket, answerMs: number, takenOver: boolean) {
    this.address = address;
    this.socket = socket;
    this.#answerMs = answerMs;
    this.#mayBeTorn = takenOver;
    // Whoever takes a connection over must not mistake answers to others for its own.
    this.#prefix = `nvsnap-${process.pid}-`;
    socket.on('data', (piece: Buffer) => this.#receive(piece));
    socket.on('error', () => {});
    socket.on('close', () => this.#end((during) => fault('qmp-closed', { address, during })));
  }

  /** Connects, and settles the capabilities (none are wanted). */
  static async connect(to: Address, options: QmpOptions = {}): Promise<Qmp> {
    const address = formatAddress(to);
    const socket = await connectSocket(to, address, options);
    const qmp = new Qmp(address, socket, options.answerMs ?? ANSWER_MS, false);
    try {
      qmp.version = await qmp.#greeting();
      await qmp.execute('qmp_capabilities');
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    }
  }

  /** Goes on with a connection on which the capabilities are settled. */
  static takeOver(address: Address, socket: Socket): Qmp {
    return new Qmp(formatAddress(address), socket, ANSWER_MS, true);
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** The connection's descriptor, for a process that is to keep it open beside us. Node has no other name for it. */
  get descriptor(): number {
    const { _handle: handle } = this.socket as Socket & { _handle?: { fd?: number } | null };
    if (handle?.fd === undefined || handle.fd < 0) {
      throw fault('qmp-closed', { address: this.address, during: 'the preparation' });
    }
    return handle.fd;
  }

  /** Asks, and resolves to the checked answer; rejects with a Fault. */
  async execute<C extends CommandName>(
    command: C,
    ...[args, answerMs = this.#answerMs]: ArgumentsOf<C> extends undefined
      ? [args?: undefined, answerMs?: number]
      : [args: ArgumentsOf<C>, answerMs?: number]
  ): Promise<Answer<C>> {
    const answer = await this.#ask(command, args, answerMs);
    const checked = ANSWERS[command].safeParse(answer);
    if (checked.success) return checked.data as Answer<C>;
    throw this.#nonsense(`its answer to "${command}" is not one`);
  }

  /** Calls for every event until the function returned is called. */
  onEvent(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#end((during) => fault('qmp-closed', { address: this.address, during }));
    this.socket.destroy();
  }

  #ask(command: string, args: unknown, answerMs: number): Promise<unknown> {
    if (this.#closed) return Promise.reject(this.#closed(`"${command}"`));
    this.#count += 1;
    const id = `${this.#prefix}${this.#count}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(this.#silence(`answered "${command}"`, answerMs));
      }, answerMs);
      const settle = (): void => {
        clearTimeout(timer);
        this.#pending.delete(id);
      };
      this.#pending.set(id, {
        command,
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      const words = args === undefined ? {} : { arguments: args };
      this.socket.write(`${JSON.stringify({ execute: command, ...words, id })}\n`);
    });
  }

  #greeting(): Promise<QemuVersion> {
    return new Promise((resolve, reject) => {
      const done = (act: () => void): void => {
        clearTimeout(timer);
        this.#pending.delete('greeting');
        this.#greeted = undefined;
        act();
      };
      const late = this.#silence('greeted', this.#answerMs);
      const timer = setTimeout(() => done(() => reject(late)), this.#answerMs);
      this.#pending.set('greeting', {
        command: 'the greeting',
        resolve: () => {},
        reject: (error) => done(() => reject(error)),
      });
      this.#greeted = (line) => {
        const checked = greeting.safeParse(line);
        done(() => {
          if (checked.success) resolve(checked.data.QMP.version);
          else reject(this.#nonsense('it does not greet'));
        });
      };
    });
  }

  #silence(waitedFor: string, ms: number): Fault {
    return fault('qmp-silent', { address: this.address, waitedFor, seconds: ms / 1000 });
  }

  #nonsense(problem: string): Fault {
    return fault('qmp-nonsense', { address: this.address, problem });
  }

  /** After this nothing is answered any more. */
  #end(how: (during: string) => Fault): void {
    if (this.#closed) return;
    this.#closed = how;
    for (const { command, reject } of [...this.#pending.values()]) reject(how(command));
  }

  #receive(piece: Buffer): void {
    if (this.#closed) return;
    const lines = this.#lines.push(piece);
    if (lines === undefined) {
      this.#giveUp(`it sends a line of more than ${MAX_LINE_BYTES} bytes`);
      return;
    }
    for (const line of lines) if (line.trim() !== '') this.#understand(line);
  }

  #giveUp(problem: string): void {
    this.#end(() => this.#nonsense(problem));
    this.socket.destroy();
  }

  #understand(line: string): void {
    if (this.#closed) return;
    const torn = this.#mayBeTorn;
    this.#mayBeTorn = false;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      if (!torn) this.#giveUp('it sends what is no JSON');
      return;
    }
    if (this.#greeted) {
      this.#greeted(value);
      return;
    }
    if (typeof value !== 'object' || value === null) {
      this.#giveUp('it sends no objects');
      return;
    }
    if ('event' in value) this.#hear(value);
    else if ('error' in value) this.#refused(value);
    else if ('return' in value) {
      const checked = answerLine.safeParse(value);
      if (checked.success) this.#waiting(checked.data.id)?.resolve(checked.data.return);
    } else this.#giveUp('it sends what is neither answer nor event');
  }

  #waiting(id: unknown): Pending | undefined {
    return typeof id === 'string' ? this.#pending.get(id) : undefined;
  }

  #refused(value: unknown): void {
    const checked = refusalLine.safeParse(value);
    if (!checked.success) {
      this.#giveUp('it sends an error without words');
      return;
    }
    const { id, error } = checked.data;
    const reason = error.desc.slice(0, SHOWN).replace(/\.\s*$/, '');
    const refuse = ({ command, reject }: Pending): void =>
      reject(fault('qmp-refused', { address: this.address, command, reason }));
    // An error without an id is about a line that could not be read: it is not known whose.
    if (id === undefined) for (const pending of [...this.#pending.values()]) refuse(pending);
    const waiting = this.#waiting(id);
    if (waiting) refuse(waiting);
  }

  #hear(value: unknown): void {
    const checked = eventLine.safeParse(value);
    if (!checked.success) {
      this.#giveUp('it sends an event that is none');
      return;
    }
    const { event, timestamp, data } = checked.data;
    const atMs = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
    for (const listener of [...this.#listeners]) listener({ event, atMs, data });
  }
}

const connectOnce = (to: Address): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(
      to.kind === 'unix' ? { path: to.path } : { host: to.host, port: to.port },
    );
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });

const connectSocket = async (
  to: Address,
  address: string,
  { waitMs = 0, signal }: QmpOptions,
): Promise<Socket> => {
  const until = performance.now() + waitMs;
  for (;;) {
    try {
      return await connectOnce(to);
    } catch (error) {
      const again = NOT_YET.has(errnoOf(error) ?? '') && performance.now() < until;
      if (!again) throw fault('qmp-unreachable', { address, reason: wordsFor(error) }, error);
      await sleep(RETRY_MS);
      if (signal?.aborted) throw abortReason(signal);
    }
  }
};

const wordsFor = (error: unknown): string => {
  const code = errnoOf(error);
  if (code === 'ENOENT') return 'there is no such socket';
  if (code === 'ECONNREFUSED') return 'nobody listens there';
  if (code === 'EACCES') return 'permission denied';
  return reasonOf(error);
};

/** What an aborted signal ends work with. */
export const abortReason = ({ reason }: AbortSignal): Fault =>
  reason instanceof Fault ? reason : fault('cancelled', { by: 'the caller' }, reason);
