// The QMP client against peers that are not QEMU, or not themselves: each is a server that does one thing.

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { parseAddress } from '../../vm/address.js';
import { listMachine, takePoint } from '../../vm/index.js';
import { LineReader } from '../../vm/lines.js';
import { Qmp, type QmpEvent } from '../../vm/qmp.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(60_000);

const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: '' }, capabilities: ['oob'] },
};

interface Asked {
  readonly execute: string;
  readonly id: string;
  readonly arguments?: unknown;
}

type Reply = (asked: Asked, socket: Socket) => unknown;

const say = (socket: Socket, value: unknown): void => {
  socket.write(`${JSON.stringify(value)}\r\n`);
};

/** A peer that greets and agrees to the capabilities, and answers all else as `reply` says, undefined for not at all. */
const peer = async (t: Test, reply: Reply, greeting: unknown = GREETING): Promise<string> => {
  const path = join(tempDir(t), 'peer.sock');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (greeting !== null) say(socket, greeting);
    let rest = '';
    socket.on('data', (piece: Buffer) => {
      const lines = (rest + piece.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const asked = JSON.parse(line) as Asked;
        if (asked.execute === 'qmp_capabilities') say(socket, { return: {}, id: asked.id });
        else {
          const answer = reply(asked, socket);
          if (answer !== undefined) say(socket, { return: answer, id: asked.id });
        }
      }
    });
  });
  await listening(t, server, path);
  return path;
};

const listening = async (t: Test, server: Server, path: string): Promise<void> => {
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
};

const connect = async (t: Test, path: string, answerMs = 300): Promise<Qmp> => {
  const qmp = await Qmp.connect(parseAddress(path), { answerMs });
  t.teardown(() => qmp.close());
  return qmp;
};

const RUNNING = { status: 'running', running: true, singlestep: false };

t.test('answers find who asked, in any order, with events between', async (t) => {
  const asked: Asked[] = [];
  const path = await peer(t, (question, socket) => {
    asked.push(question);
    if (asked.length < 2) return undefined;
    const timestamp = { seconds: 1700000000, microseconds: 250_000 };
    say(socket, { event: 'STOP', timestamp });
    say(socket, { return: { nobody: 'asked' }, id: 'other' });
    say(socket, { return: { UUID: 'x' }, id: asked[1]?.id });
    say(socket, { return: RUNNING, id: asked[0]?.id });
    return undefined;
  });
  const qmp = await connect(t, path);
  const events: QmpEvent[] = [];
  qmp.onEvent((event) => events.push(event));
  const [status, uuid] = await Promise.all([
    qmp.execute('query-status'),
    qmp.execute('query-uuid'),
  ]);
  t.same([status, uuid], [{ status: 'running', running: true }, { UUID: 'x' }]);
  t.same(events, [{ event: 'STOP', atMs: 1700000000250, data: {} }]);
  t.same(qmp.version?.qemu, { major: 7, minor: 2, micro: 22 });
  t.equal(new Set(asked.map(({ id }) => id)).size, 2);
});

t.test('a refusal is told in its words, and is no end', async (t) => {
  const path = await peer(t, ({ execute, id }, socket) => {
    if (execute !== 'stop') return RUNNING;
    say(socket, { error: { class: 'GenericError', desc: 'not\u0007 now.' }, id });
    return undefined;
  });
  const qmp = await connect(t, path);
  await t.rejects(qmp.execute('stop'), {
    code: 'qmp-refused',
    message: `QEMU at ${path} refused "stop": not\uFFFD now.`,
  });
  t.match(await qmp.execute('query-status'), { running: true });
});

t.test('peers that do not speak as QEMU does', async (t) => {
  const wrong: readonly [string, Reply, string, RegExp][] = [
    ['silent', () => undefined, 'qmp-silent', /has not answered "query-status" within 0\.3 s/],
    ['closes', (_, socket) => void socket.end(), 'qmp-closed', /during query-status/],
    ['rubbish', (_, socket) => void socket.write('\u0000\u00ff{{{\n'), 'qmp-nonsense', /no JSON/],
    ['a number', (_, socket) => say(socket, 7), 'qmp-nonsense', /no objects/],
    ['null', (_, socket) => say(socket, null), 'qmp-nonsense', /no objects/],
    [
      'nothing known',
      (_, socket) => say(socket, { x: 1 }),
      'qmp-nonsense',
      /neither answer nor event/,
    ],
    [
      'a lie',
      () => ({ status: 7, running: 'yes' }),
      'qmp-nonsense',
      /answer to "query-status" is not one/,
    ],
    ['another event', (_, s) => say(s, { event: 7 }), 'qmp-nonsense', /an event that is none/],
    [
      'no words',
      ({ id }, s) => say(s, { error: 'no', id }),
      'qmp-nonsense',
      /an error without words/,
    ],
    [
      'an error for all',
      (_, s) => say(s, { error: { class: 'x', desc: 'bad input' } }),
      'qmp-refused',
      /bad input/,
    ],
    ['deep', (_, s) => void s.write(`${'['.repeat(100_000)}\n`), 'qmp-nonsense', /no JSON/],
    [
      'endless',
      (_, s) => void s.write(Buffer.alloc(5 * 2 ** 20, 'x')),
      'qmp-nonsense',
      /more than 4194304 bytes/,
    ],
  ];
  for (const [name, reply, code, message] of wrong) {
    const qmp = await connect(t, await peer(t, reply));
    await t.rejects(qmp.execute('query-status'), { code, message }, name);
  }
});

t.test('peers that do not greet', async (t) => {
  for (const [greeting, code] of [
    [null, 'qmp-silent'],
    [{ QMP: { version: 'new' } }, 'qmp-nonsense'],
    [{ return: {} }, 'qmp-nonsense'],
  ] as const) {
    const path = await peer(t, () => RUNNING, greeting);
    await t.rejects(Qmp.connect(parseAddress(path), { answerMs: 200 }), { code });
  }
});

t.test('a server that comes late is waited for, one that does not is named', async (t) => {
  const path = join(tempDir(t), 'late.sock');
  await t.rejects(Qmp.connect(parseAddress(path)), {
    code: 'qmp-unreachable',
    message: /no such socket/,
  });
  const server = createServer((socket) => {
    say(socket, GREETING);
    socket.on('data', (piece) => say(socket, { return: {}, id: JSON.parse(piece.toString()).id }));
    socket.on('error', () => {});
  });
  const waiting = Qmp.connect(parseAddress(path), { waitMs: 10_000 });
  await sleep(120);
  await listening(t, server, path);
  const qmp = await waiting;
  t.notOk(qmp.isClosed);
  qmp.close();
  await t.rejects(qmp.execute('stop'), { code: 'qmp-closed' });
});

t.test('a loopback port is reached, and no other machine', async (t) => {
  const server = createServer((socket) => {
    say(socket, GREETING);
    socket.on('data', (piece) => say(socket, { return: {}, id: JSON.parse(piece.toString()).id }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const qmp = await Qmp.connect(parseAddress(`127.0.0.1:${port}`));
  t.equal(qmp.address, `127.0.0.1:${port}`);
  qmp.close();
  for (const address of [
    '192.0.2.1:4444',
    'tcp:example.org:1',
    '127.0.0.1:0',
    '127.0.0.1:70000',
    '',
    'unix:',
    'x'.repeat(108),
  ]) {
    t.throws(() => parseAddress(address), { code: 'usage' }, address);
  }
  t.same(parseAddress('[::1]:4444'), { kind: 'tcp', host: '::1', port: 4444 });
  t.same(parseAddress('unix:/run/a:1'), { kind: 'unix', path: '/run/a:1' });
});

t.test('lines come whole, however they arrive', (t) => {
  const text = Buffer.from('{"ä":1}\r\n\n{"b":2}\nrest');
  for (let size = 1; size <= text.length; size += 1) {
    const reader = new LineReader(64);
    const lines: string[] = [];
    for (let at = 0; at < text.length; at += size) {
      lines.push(...(reader.push(text.subarray(at, at + size)) ?? ['too long']));
    }
    t.same(lines, ['{"ä":1}\r', '', '{"b":2}'], `pieces of ${size}`);
  }
  t.equal(new LineReader(3).push(Buffer.from('abcd')), undefined);
  t.same(new LineReader(3).push(Buffer.from('abc\n')), ['abc']);
  t.end();
});

/** What a real one answers, but for what a test changes. */
const machine = (change: Readonly<Record<string, unknown>>): Reply => {
  const answers: Readonly<Record<string, unknown>> = {
    'query-status': RUNNING,
    'qom-list': [],
    'query-memory-size-summary': { 'base-memory': 2 ** 24 },
    'query-cpus-fast': [{ 'thread-id': process.pid }],
    'query-memory-devices': [],
    'query-memdev': [],
    'query-name': {},
    'query-uuid': { UUID: '0' },
    'query-block': [],
    'query-migrate': {},
    ...change,
  };
  return ({ execute }) => answers[execute];
};

t.test('what a peer says of its machine is not believed blindly', async (t) => {
  t.match(await listMachine({ qmp: await peer(t, machine({})) }), {
    regions: [],
    pid: process.pid,
  });
  const lies: readonly Readonly<Record<string, unknown>>[] = [
    { 'query-memdev': [{ id: '../../etc/passwd', size: 1, share: true }] },
    { 'query-memdev': [{ id: 'a', size: -1, share: true }] },
    { 'query-memdev': [{ id: 'a', size: 1e300, share: true }] },
    { 'query-memdev': { id: 'a' } },
    { 'query-memdev': Array.from({ length: 20_000 }, () => ({ id: 'a', size: 1 })) },
    { 'query-memory-devices': [{ type: 'nvdimm', data: { addr: 'here' } }] },
    { 'query-cpus-fast': [{ 'thread-id': '1; rm -rf /' }] },
    { 'query-block': 'no' },
  ];
  for (const lie of lies) {
    await t.rejects(
      listMachine({ qmp: await peer(t, machine(lie)) }),
      { code: 'qmp-nonsense' },
      JSON.stringify(lie).slice(0, 60),
    );
  }
  const stores = join(tempDir(t), 'points');
  for (const status of ['inmigrate', 'internal-error', 'save-vm']) {
    const qmp = await peer(t, machine({ 'query-status': { status, running: false } }));
    await t.rejects(takePoint({ qmp, stores }), {
      code: 'vm-unsuitable',
      message: new RegExp(status),
    });
  }
  await t.rejects(takePoint({ qmp: await peer(t, machine({})), stores }), {
    code: 'vm-unsuitable',
    message: /has no NVDIMM/,
  });
});
