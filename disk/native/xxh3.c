/*
 * XXH3-128 digests of many clusters in one call: a call per cluster costs as much as digesting 32 KiB does.
 * The algorithm itself is xxHash's own code, which comes with the package xxhash-addon.
 *
 * Both functions take the store's 8-byte seed, the bytes, and where the digests go: 16 bytes each, in xxHash's
 * canonical order. They check every range before they touch memory, and keep nothing.
 */

#include "native.h"
#include <string.h>

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
  const size_t count = data.length / size + (data.length % size != 0);
  if (at > into.length || count > (into.length - at) / DIGEST_BYTES)
    return refuse(env, "the fingerprints do not fit there");
  const XXH64_hash_t key = seed_of(seed.at);
  uint8_t *print = into.at + at;
  for (size_t from = 0; from < data.length; from += size, print += DIGEST_BYTES) {
    const size_t length = data.length - from < size ? data.length - from : size;
    if (is_zero(data.at + from, length)) memset(print, 0, DIGEST_BYTES);
    else digest(data.at + from, length, key, print);
  }
  return NULL;
}
