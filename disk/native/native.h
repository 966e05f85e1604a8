/* What the files of this folder share: the arguments of calls from JavaScript. */

#ifndef NVSNAP_NATIVE_H
#define NVSNAP_NATIVE_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
  uint8_t *at;
  size_t length;
};

/* False when `value` is not a Uint8Array, of shared memory or other. */
int get_bytes(napi_env env, napi_value value, struct bytes *bytes);

/* False when `value` is not a whole number from 0 to 2^32 - 1. */
int get_count(napi_env env, napi_value value, size_t *count);

/* Throws a RangeError; what is returned is what the call then returns. */
napi_value refuse(napi_env env, const char *problem);

napi_value call_system(napi_env env, napi_callback_info info);
napi_value address_of(napi_env env, napi_callback_info info);
napi_value store_at(napi_env env, napi_callback_info info);
napi_value digest_one(napi_env env, napi_callback_info info);
napi_value fingerprint_all(napi_env env, napi_callback_info info);
napi_value scan_file(napi_env env, napi_callback_info info);

/* Adds the numbers of the system calls that the house uses to `exports`. */
napi_status export_numbers(napi_env env, napi_value exports);

#endif
