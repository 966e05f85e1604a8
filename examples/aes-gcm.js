// Encrypts every cluster that is stored, with AES-256-GCM (NIST SP 800-38D).
//
//     openssl rand -hex 32 > vm.key
//     nvsnap take nvdimm.img vm.qcow2 --stage ./aes-gcm.js,key=vm.key
//     nvsnap restore vm.qcow2 latest back.img --stage ./aes-gcm.js,key=vm.key
//     nvsnap convert vm.qcow2 clear.qcow2 --stage ./aes-gcm.js,key=vm.key --leave-stages
//
// What is stored for a cluster is a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. The nonce is random: a key
// may encrypt 2^32 clusters with such nonces, so every store has a key of its own, derived (HKDF, RFC 5869) from the
// one in the file and the store's uuid. Nonces may not repeat under one key: whoever changes this stage keeps them random.
//
// The digests by which nvsnap finds equal clusters get a key from it too, so that nobody without it can tell what a
// cluster holds by its digest. That two clusters of one store are equal can be seen all the same: that is what makes
// dependent snapshots small. The tag shows that a cluster is one that was encrypted with this key, the digest that it is
// the one that belongs here. The store keeps 8 bytes, from which the key cannot be found, by which a wrong one is noticed.

import { execFileSync } from 'node:child_process';
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { stage } from 'nvsnap/stage';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CHECK_BYTES = 8;
/** Random bytes for so many nonces are asked for at once: asking takes a tenth of the time that encrypting 64 KiB does. */
const NONCES = 256;

/** @typedef {{ check: string, key: Uint8Array, digests: Uint8Array }} Options */

/**
 * @param {Readonly<Record<string, unknown>>} words
 * @param {string} folder
 */
const readSecret = ({ key, command }, folder) => {
  const text = command
    ? execFileSync('/bin/sh', ['-c', String(command)], { cwd: folder, encoding: 'utf8' })
    : readFileSync(resolve(folder, String(key)), 'utf8');
  if (/^[0-9a-f]{64}$/i.test(text.trim())) return Buffer.from(text.trim(), 'hex');
  throw new Error('its key is not 64 hexadecimal digits');
};

/**
 * A key for one purpose.
 * @param {Buffer} secret
 * @param {string} store its uuid
 * @param {string} purpose
 * @param {number} bytes
 */
const derive = (secret, store, purpose, bytes) =>
  new Uint8Array(hkdfSync('sha256', secret, store, `nvsnap aes-gcm ${purpose}`, bytes));

export default stage({
  name: 'aes-gcm',
  version: '1',
  summary: 'encrypts what is stored with AES-256-GCM',
  usage: {
    key: 'a file that holds the key, 64 hexadecimal digits',
    command: 'instead: a command that prints it',
  },

  /** @returns {Options} */
  parse(words, { store, kept, folder }) {
    const unknown = Object.keys(words).find((word) => word !== 'key' && word !== 'command');
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    if (!words.key === !words.command) throw new Error('it needs key=FILE or command=COMMAND');
    const secret = readSecret(words, folder);
    const check = Buffer.from(derive(secret, store, 'check', CHECK_BYTES)).toString('hex');
    const known = /** @type {{ check: string } | undefined} */ (kept);
    if (known && !timingSafeEqual(Buffer.from(known.check), Buffer.from(check))) {
      throw new Error('this is not the key that the store was written with');
    }
    return {
      check,
      key: derive(secret, store, 'clusters', KEY_BYTES),
      digests: derive(secret, store, 'digests', KEY_BYTES),
    };
  },

  reversible: {
    growth: NONCE_BYTES + TAG_BYTES,
    keeps: ({ check }) => ({ check }),
    digestKey: ({ digests }) => digests,
  },

  open(options) {
    const key = createSecretKey(options.key);
    const nonces = Buffer.alloc(NONCES * NONCE_BYTES);
    let used = nonces.length;

    const newNonce = () => {
      if (used === nonces.length) {
        randomFillSync(nonces);
        used = 0;
      }
      used += NONCE_BYTES;
      return nonces.subarray(used - NONCE_BYTES, used);
    };

    return {
      encode(bytes, into) {
        const nonce = newNonce();
        const cipher = createCipheriv(CIPHER, key, nonce);
        const body = cipher.update(bytes);
        cipher.final();
        const end = NONCE_BYTES + body.length;
        nonce.copy(into);
        body.copy(into, NONCE_BYTES);
        cipher.getAuthTag().copy(into, end);
        return end + TAG_BYTES;
      },
      decode(bytes, into) {
        const end = bytes.length - TAG_BYTES;
        if (end < NONCE_BYTES) throw new Error('it is too short');
        const nonce = bytes.subarray(0, NONCE_BYTES);
        const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
        decipher.setAuthTag(bytes.subarray(end));
        const body = decipher.update(bytes.subarray(NONCE_BYTES, end));
        // Throws unless the tag is right: nothing is given back before.
        decipher.final();
        return body.copy(into);
      },
    };
  },
});
