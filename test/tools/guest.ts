// A machine of its own for what this one's kernel may not have: Debian's kernel under QEMU's software emulation,
// with an initramfs of busybox, node and what a program of ours needs. It has no disk and no network; what it says
// comes over the serial line.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Archive } from './cpio.js';
import { start } from './nvsnap.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HOME = '/nvsnap';

/** Depends on the current one of the kernels that Debian builds for virtual machines. */
const KERNEL_PACKAGE = 'linux-image-cloud-amd64';

/** Found by a native module at run time, and so by no list of dependencies. */
const NATIVE_SCOPES = ['@koromix', '@antoniomuso', '@napi-rs'];

/** Drivers that most tests want, each after those that it needs. */
const MODULES = ['zsmalloc', 'lzo-rle', 'zram'];

const run = (program: string, args: readonly string[], cwd = ROOT): string => {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (status === 0) return stdout;
  const said = error ? error.message : stderr.trim();
  throw new Error(`${program} ${args.join(' ')} failed: ${said}`);
};

/** Fetches Debian packages, without installing them, and unpacks them into `folder`. */
const unpack = (names: readonly string[], folder: string): void => {
  const debs = join(folder, 'debs');
  fs.mkdirSync(debs);
  run('apt-get', ['download', ...names], debs);
  for (const deb of fs.readdirSync(debs)) run('dpkg-deb', ['-x', join(debs, deb), folder]);
};

/** The kernel and busybox, unpacked in `folder`; throws a sentence when they cannot be had. */
const fetchParts = (folder: string): { kernel: string; busybox: string; modules: string } => {
  const kernelOf = (): string => {
    const [, name] =
      /Depends: (linux-image-\S+)/.exec(run('apt-cache', ['depends', KERNEL_PACKAGE])) ?? [];
    if (name === undefined) throw new Error(`apt does not know ${KERNEL_PACKAGE}`);
    return name;
  };
  let version: string;
  try {
    try {
      version = kernelOf();
      unpack([version, 'busybox-static'], folder);
    } catch {
      fs.rmSync(join(folder, 'debs'), { recursive: true, force: true });
      run('apt-get', ['update']);
      version = kernelOf();
      unpack([version, 'busybox-static'], folder);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`Debian's kernel cannot be fetched, which this test boots: ${why}`, {
      cause: error,
    });
  }
  const release = version.replace('linux-image-', '');
  return {
    kernel: join(folder, 'boot', `vmlinuz-${release}`),
    busybox: join(folder, 'bin', 'busybox'),
    modules: join(folder, 'lib', 'modules', release),
  };
};

/** The shared libraries that a program asks for, by their paths. */
const librariesOf = (program: string): string[] =>
  [...run('ldd', [program]).matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path as string);

/** What programs of the tests use besides. */
const OWN_PACKAGES = ['koffi'];

/** The packages that nvsnap runs with, and theirs. */
const packagesOf = (modules: string): Set<string> => {
  const found = new Set<string>();
  const visit = (manifest: string): void => {
    const { dependencies = {} } = JSON.parse(fs.readFileSync(manifest, 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const name of Object.keys(dependencies)) {
      const next = join(modules, name, 'package.json');
      if (found.has(name) || !fs.existsSync(next)) continue;
      found.add(name);
      visit(next);
    }
  };
  visit(join(ROOT, 'package.json'));
  for (const name of OWN_PACKAGES) found.add(name);
  for (const scope of NATIVE_SCOPES) {
    if (!fs.existsSync(join(modules, scope))) continue;
    for (const name of fs.readdirSync(join(modules, scope))) found.add(`${scope}/${name}`);
  }
  return found;
};

/** A word as a shell takes it. */
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** What the first process does: the file systems a program expects, then the program, then lights out. */
const initOf = (args: readonly string[]): string => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mkdir -p /proc /sys /dev /run /tmp /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs -o size=80% shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
for module in /modules/*; do insmod $module; done
cd ${HOME}
node ${args.map(quoted).join(' ')} 2>&1
echo "guest: ended with $?"
poweroff -f
`;

const addTree = (
  archive: Archive,
  from: string,
  to: string,
  wanted: (path: string) => boolean,
): void => {
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const path = join(from, entry.name);
    if (entry.isDirectory()) addTree(archive, path, `${to}/${entry.name}`, wanted);
    else if (wanted(path)) archive.file(`${to}/${entry.name}`, path);
  }
};

/** Writes the initramfs. */
const pack = (
  path: string,
  { busybox, modules }: { busybox: string; modules: string },
  args: readonly string[],
  { modules: wanted = MODULES, programs = [] }: GuestContent,
): void => {
  const archive = new Archive(path);
  archive.file('/bin/busybox', busybox);
  archive.file('/bin/node', process.execPath);
  const packages = fs.realpathSync(join(ROOT, 'node_modules'));
  const natives: string[] = [];
  for (const name of packagesOf(packages)) {
    addTree(
      archive,
      fs.realpathSync(join(packages, name)),
      `${HOME}/node_modules/${name}`,
      (file) => {
        if (/\.node$/.test(file)) natives.push(file);
        return /\.(c?js|mjs|json|node)$/.test(file) && !/darwin|win32|arm64|musl/.test(file);
      },
    );
  }
  addTree(archive, join(ROOT, 'dist'), `${HOME}/dist`, (file) => /\.c?js$/.test(file));
  archive.file(`${HOME}/build/Release/nvsnap.node`, join(ROOT, 'build/Release/nvsnap.node'));
  archive.file(`${HOME}/package.json`, join(ROOT, 'package.json'));
  const loadable = natives.filter((file) => /linux-x64(?!.*musl)|Release\/binding/.test(file));
  for (const program of programs) archive.file(program, fs.realpathSync(program));
  const libraries = new Set([process.execPath, ...programs, ...loadable].flatMap(librariesOf));
  for (const library of libraries) archive.file(library, library);
  for (const [i, name] of wanted.entries()) {
    const found = run('find', [modules, '-name', `${name}.ko*`])
      .trim()
      .split('\n')[0];
    if (found) archive.file(`/modules/${i}-${basename(found)}`, found);
  }
  archive.text('/init', initOf(args));
  archive.close();
};

/** Of what a guest said that did not end well, so many characters are shown. */
const SHOWN = 8000;

/** What a guest has beside node and busybox. */
interface GuestContent {
  /** Drivers, each after those that it needs. */
  readonly modules?: readonly string[];
  /** Programs of this machine, by their paths. */
  readonly programs?: readonly string[];
}

export interface GuestParts extends GuestContent {
  /** An empty folder for all that is needed meanwhile. */
  readonly folder: string;
  /** The program: a compiled module in test/, by its path below dist, and its arguments. */
  readonly program: readonly string[];
}

/** Makes the kernel and the first file system of a guest; the words with which QEMU boots them. */
export const makeGuest = ({ folder, program, ...content }: GuestParts): string[] => {
  const { kernel, ...parts } = fetchParts(folder);
  const initramfs = join(folder, 'initramfs');
  const [module = '', ...args] = program;
  pack(initramfs, parts, [`${HOME}/dist/${module}`, ...args], content);
  return [
    ...['-kernel', kernel, '-initrd', initramfs],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off'],
  ];
};

export interface GuestOptions extends GuestParts {
  readonly memoryMiB: number;
  readonly timeoutMs: number;
}

/** Boots the machine, runs the program in it, and gives back all that it said; throws when it did not end by itself. */
export const runGuest = async ({
  memoryMiB,
  timeoutMs,
  ...parts
}: GuestOptions): Promise<string> => {
  const words = makeGuest(parts);
  const { folder } = parts;
  const console = join(folder, 'console');
  const { child, ended } = start('qemu-system-x86_64', [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', `${memoryMiB}M`],
    ...['-serial', `file:${console}`, ...words],
  ]);
  const end = (): void => {
    child.kill('SIGKILL');
  };
  const late = setTimeout(end, timeoutMs);
  process.once('exit', end);
  try {
    const { stderr } = await ended;
    const said = fs.existsSync(console) ? fs.readFileSync(console, 'utf8') : '';
    if (/^guest: ended with \d+\s*$/m.test(said)) return said;
    throw new Error(`the guest did not come to an end:\n${said.slice(-SHOWN)}\n${stderr}`);
  } finally {
    clearTimeout(late);
    process.off('exit', end);
  }
};
