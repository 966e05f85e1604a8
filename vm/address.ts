// Where a QMP socket is: a path, or a port of this machine. QMP knows no passwords, so it is never looked for elsewhere.

import { isIP } from 'node:net';
import { fault } from '../disk/index.js';

export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** The kernel takes no longer path of a socket (unix(7)). */
export const MAX_SOCKET_PATH = 107;
const MAX_PORT = 65_535;

const refuse = (text: string, problem: string): never => {
  throw fault('usage', {
    problem: `The QMP socket ${JSON.stringify(text)} ${problem}.`,
    advice:
      'Give its path, as in /run/vm/qmp.sock, or a port of this machine, as in 127.0.0.1:4444.',
  });
};

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Reads "/run/qmp.sock", "unix:/run/qmp.sock", "127.0.0.1:4444", "[::1]:4444" or "tcp:localhost:4444". */
export const parseAddress = (text: string): Address => {
  const tcp = /^(?:tcp:)?(?:\[([0-9a-f:]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(text);
  if (tcp && !text.startsWith('unix:')) {
    const host = tcp[1] ?? tcp[2] ?? '';
    const port = Number(tcp[3]);
    if (port < 1 || port > MAX_PORT) return refuse(text, 'has no possible port');
    return isLoopback(host) ? { kind: 'tcp', host, port } : refuse(text, 'is on another machine');
  }
  const path = text.replace(/^unix:/, '');
  if (path === '' || path.includes('\0')) return refuse(text, 'has no path');
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    return refuse(text, `is longer than ${MAX_SOCKET_PATH} bytes`);
  }
  return { kind: 'unix', path };
};

/** The address as people write it. */
export const formatAddress = (address: Address): string => {
  if (address.kind === 'unix') return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
};
