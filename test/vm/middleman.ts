// A man in the middle of a QMP socket: he hears each command before QEMU does, and can hold back what it answers.

import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

/** What becomes of all that QEMU says from now on: it goes through, or waits for `release`. */
export type Verdict = 'pass' | 'hold';

/** A socket that leads to another one, with somebody in between who hears each command before QEMU does. */
export class Middleman {
  readonly socket: string;
  readonly #server: Server;
  readonly #links = new Set<Socket>();
  readonly #held = new Map<Socket, Buffer[]>();

  private constructor(socket: string, server: Server) {
    this.socket = socket;
    this.#server = server;
  }

  static async between(
    socket: string,
    hear: (command: string, client: number) => Verdict | Promise<Verdict>,
  ): Promise<Middleman> {
    const path = `${socket}.middle`;
    let clients = 0;
    const server = createServer();
    const middle = new Middleman(path, server);
    server.on('connection', (client) => {
      clients += 1;
      middle.#link(client, createConnection({ path: socket }), clients, hear);
    });
    server.listen(path);
    await once(server, 'listening');
    return middle;
  }

  #link(
    client: Socket,
    qemu: Socket,
    number: number,
    hear: (command: string, client: number) => Verdict | Promise<Verdict>,
  ): void {
    let order = Promise.resolve();
    client.on('data', (piece: Buffer) => {
      order = order.then(async () => {
        for (const [, command] of piece.toString().matchAll(/"execute":"([\w-]+)"/g)) {
          if ((await hear(command as string, number)) === 'hold' && !this.#held.has(client)) {
            this.#held.set(client, []);
          }
        }
        qemu.write(piece);
      });
    });
    qemu.on('data', (piece: Buffer) => {
      const held = this.#held.get(client);
      if (held) held.push(piece);
      else client.write(piece);
    });
    for (const [one, other] of [
      [client, qemu],
      [qemu, client],
    ] as const) {
      this.#links.add(one);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  }

  /** Lets through what was held back. */
  release(): void {
    for (const [client, pieces] of this.#held) for (const piece of pieces) client.write(piece);
    this.#held.clear();
  }

  close(): void {
    for (const link of this.#links) link.destroy();
    this.#server.close();
  }
}
