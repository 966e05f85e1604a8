/*
 * XXH3-128 digests of many clusters in one call: a call per cluster costs as much as digesting 32 KiB does.
 * The algorithm itself is xxHash's own code, which comes with the package xxhash-addon.
 *
 * All functions take the store's 8-byte seed, the bytes or where to read them, and where the digests go: 16 bytes
 * each, in xxHash's canonical order. They check every range before they touch memory, and keep nothing.
 */

#define _FILE_OFFSET_BITS 64
#include "native.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "xxhash.c"
#if defined(__x86_64__)
#include "xxh_x86dispatch.h" /* The calls below choose code for the processor's vectors: xxh3-x86.c. */
#endif

enum { SEED_BYTES = 8, DIGEST_BYTES = 16 };

/* The seed as xxHash wants it: its bytes are big-endian. */
static XXH64_hash_t seed_of(const uint8_t *bytes) {
  XXH64_hash_t seed = 0;
  for (int i = 0; i < SEED_BYTES; i += 1) seed = seed << 8 | bytes[i];
  return seed;
}

static int is_zero(const uint8_t *bytes, size_t length) {
  return length > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* A digest of zeros alone means a cluster of zeros: one that came out so by chance is changed. */
static void digest(const uint8_t *bytes, size_t length, XXH64_hash_t seed, uint8_t *into) {
  XXH128_canonicalFromHash((XXH128_canonical_t *)into, XXH3_128bits_withSeed(bytes, length, seed));
  if (is_zero(into, DIGEST_BYTES)) into[0] = 1;
}

/* digest(seed, data, into, at): the digest of all of `data`, at byte `at` of `into`. */
napi_value digest_one(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4, at;
  struct bytes seed, data, into;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 4 ||
      !get_bytes(env, argv[0], &seed) || seed.length != SEED_BYTES || !get_bytes(env, argv[1], &data) ||
      !get_bytes(env, argv[2], &into) || !get_count(env, argv[3], &at))
    return refuse(env, "digest(seed: 8 bytes, data, into, at)");
  if (into.length < DIGEST_BYTES || at > into.length - DIGEST_BYTES)
    return refuse(env, "a digest does not fit there");
  digest(data.at, data.length, seed_of(seed.at), into.at + at);
  return NULL;
}

/* The fingerprints of the clusters of `size` bytes in `data`, of which the last may be shorter. */
static void fingerprints(struct bytes data, size_t size, XXH64_hash_t seed, uint8_t *into) {
  for (size_t from = 0; from < data.length; from += size, into += DIGEST_BYTES) {
    const size_t length = data.length - from < size ? data.length - from : size;
    if (is_zero(data.at + from, length)) memset(into, 0, DIGEST_BYTES);
    else digest(data.at + from, length, seed, into);
  }
}

/* How many clusters of `size` bytes there are in `length`, of which the last may be shorter. */
static size_t clusters_in(size_t length, size_t size) { return length / size + (length % size != 0); }

/*
 * fingerprints(seed, data, size, into, at): of every `size` bytes of `data`, of which the last may be fewer, the
 * digest, or zeros where all are zero; one after another from byte `at` of `into` on.
 */
napi_value fingerprint_all(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5, size, at;
  struct bytes seed, data, into;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 5 ||
      !get_bytes(env, argv[0], &seed) || seed.length != SEED_BYTES || !get_bytes(env, argv[1], &data) ||
      !get_count(env, argv[2], &size) || size == 0 || !get_bytes(env, argv[3], &into) ||
      !get_count(env, argv[4], &at))
    return refuse(env, "fingerprints(seed: 8 bytes, data, size, into, at)");
  if (at > into.length || clusters_in(data.length, size) > (into.length - at) / DIGEST_BYTES)
    return refuse(env, "the fingerprints do not fit there");
  fingerprints(data, size, seed_of(seed.at), into.at + at);
  return NULL;
}

/* What was read of `piece.length` bytes from `offset` on: fewer where the file ends; a negated errno. */
static ssize_t read_piece(int fd, struct bytes piece, off_t offset) {
  size_t done = 0;
  while (done < piece.length) {
    const ssize_t got = pread(fd, piece.at + done, piece.length - done, offset + (off_t)done);
    if (got == 0) break;
    if (got < 0 && errno != EINTR) return -errno;
    if (got > 0) done += (size_t)got;
  }
  return (ssize_t)done;
}

/*
 * scan(seed, fd, offset, length, piece, size, known, into, at): reads `length` bytes of a file, from `offset` on, as much
 * at a time as `piece` holds (whole clusters), and puts the fingerprints of each piece to byte `at` of `into` and on. Ends
 * behind the first piece whose fingerprints are not those at the same place of `known`, and before one that the file
 * does not have whole. Returns the bytes gone through, or a negated errno.
 */
napi_value scan_file(napi_env env, napi_callback_info info) {
  napi_value argv[9], result;
  size_t argc = 9, fd, length, size, at;
  int64_t offset;
  struct bytes seed, place, known, into;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 9 ||
      !get_bytes(env, argv[0], &seed) || seed.length != SEED_BYTES || !get_count(env, argv[1], &fd) ||
      napi_get_value_int64(env, argv[2], &offset) != napi_ok || offset < 0 || !get_count(env, argv[3], &length) ||
      !get_bytes(env, argv[4], &place) || !get_count(env, argv[5], &size) || size == 0 || place.length == 0 ||
      place.length % size != 0 || !get_bytes(env, argv[6], &known) || !get_bytes(env, argv[7], &into) ||
      !get_count(env, argv[8], &at))
    return refuse(env, "scan(seed: 8 bytes, fd, offset, length, piece, size, known, into, at)");
  const size_t prints = clusters_in(length, size);
  if (at > into.length || prints > (into.length - at) / DIGEST_BYTES || at > known.length ||
      prints > (known.length - at) / DIGEST_BYTES)
    return refuse(env, "the fingerprints do not fit there");
  const XXH64_hash_t key = seed_of(seed.at);
  int64_t done = 0;
  for (int same = 1; same && (size_t)done < length;) {
    const size_t rest = length - (size_t)done;
    const struct bytes piece = {place.at, rest < place.length ? rest : place.length};
    const ssize_t got = read_piece((int)fd, piece, (off_t)(offset + done));
    if (got < 0) done = got;
    if (got < 0 || (size_t)got < piece.length) break;
    const size_t bytes = clusters_in(piece.length, size) * DIGEST_BYTES;
    fingerprints(piece, size, key, into.at + at);
    same = memcmp(known.at + at, into.at + at, bytes) == 0;
    at += bytes;
    done += got;
  }
  return napi_create_int64(env, done, &result) == napi_ok ? result : NULL;
}
