// The device state on its way. It comes from QEMU, and goes to it, over a socket in a folder that nobody else may enter:
// QEMU needs to start no program and to write no file for it, and when either side dies the other one sees the end.

import fs from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fault, ioFault, reasonOf } from '../disk/index.js';
import { MAX_SOCKET_PATH } from './address.js';
import { ownerOf } from './process.js';
import type { Qmp } from './qmp.js';

const PREFIX = 'nvsnap-vm-';
const SOCKET = 'state.sock';

/** Where such folders are made: a socket's path may not be long. */
const socketBase = (): string => {
  const longest = join(tmpdir(), `${PREFIX}XXXXXX`, SOCKET);
  return Buffer.byteLength(longest) > MAX_SOCKET_PATH ? '/tmp' : tmpdir();
};

/** A folder for one socket, that only we and QEMU's user may enter. */
export class SocketFolder {
  readonly path: string;

  constructor(pid: number | null) {
    this.path = fs.mkdtempSync(join(socketBase(), PREFIX));
    const owner = pid === null ? undefined : ownerOf(pid);
    // Only root may give it away; anybody else is QEMU's own user, or is refused by QEMU.
    if (owner && process.getuid?.() === 0) fs.chownSync(this.path, owner.uid, owner.gid);
  }

  get socket(): string {
    return join(this.path, SOCKET);
  }

  /** For QEMU: "unix:PATH". */
  get uri(): string {
    return `unix:${this.socket}`;
  }

  /** Lets QEMU connect to a socket that we have made. */
  giveSocket(pid: number | null): void {
    const owner = pid === null ? undefined : ownerOf(pid);
    fs.chmodSync(this.socket, 0o600);
    if (owner && process.getuid?.() === 0) fs.chownSync(this.socket, owner.uid, owner.gid);
  }

  remove(): void {
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

/** Takes what the one client that connects sends, into a new file. */
export class StateReceiver {
  readonly uri: string;
  /** Path of the folder in which the socket is. */
  readonly place: string;
  readonly #folder: SocketFolder;
  readonly #server: Server;
  readonly #file: string;
  readonly #received: Promise<void>;
  #connection: Socket | undefined;

  private constructor(folder: SocketFolder, server: Server, file: string) {
    this.#folder = folder;
    this.#server = server;
    this.#file = file;
    this.uri = folder.uri;
    this.place = folder.path;
    this.#received = new Promise((resolve, reject) => {
      server.once('connection', (socket) => {
        this.#connection = socket;
        server.close();
        const into = fs.createWriteStream(file, { flags: 'wx', mode: 0o600 });
        pipeline(socket, into).then(resolve, reject);
      });
    });
    // Whoever waits for it hears of it; until then it is nobody's failure.
    this.#received.catch(() => {});
  }

  /** Listens; `pid` is that of the QEMU that will connect, and `file` is made when it does. */
  static async listen(pid: number | null, file: string): Promise<StateReceiver> {
    const folder = new SocketFolder(pid);
    try {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(folder.socket, resolve);
      });
      folder.giveSocket(pid);
      return new StateReceiver(folder, server, file);
    } catch (error) {
      folder.remove();
      throw ioFault(error, folder.socket, 'listen at');
    }
  }

  /** Resolves when the sender has closed its side; rejects when the file cannot be written. */
  async received(): Promise<void> {
    try {
      await this.#received;
    } catch (error) {
      throw ioFault(error, this.#file, 'write');
    }
  }

  close(): void {
    this.#connection?.destroy();
    this.#server.close();
    this.#folder.remove();
  }
}

const connect = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection({ path });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });

/** Sends a file to a QEMU that was started with "-incoming defer". Whether it likes it, its migration says. */
export const sendState = async (qmp: Qmp, pid: number | null, file: string): Promise<void> => {
  const folder = new SocketFolder(pid);
  try {
    await qmp.execute('migrate-incoming', { uri: folder.uri });
    let socket: Socket;
    try {
      socket = await connect(folder.socket);
    } catch (error) {
      const advice = 'QEMU must be able to make a socket there; see its standard error.';
      const reason = `QEMU cannot be reached at ${folder.socket}: ${reasonOf(error)}`;
      throw fault('vm-state-failed', { reason, advice }, error);
    }
    // QEMU hangs up as soon as it has read the last byte, or one that it does not like.
    await pipeline(fs.createReadStream(file), socket).catch(() => {});
  } finally {
    folder.remove();
  }
};
