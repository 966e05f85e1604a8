/* The system calls that Node has no name for. */

#define _GNU_SOURCE
#include "native.h"
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 6 };

/* A number, or where the bytes of a Uint8Array are. */
static int get_argument(napi_env env, napi_value value, long *argument) {
  struct bytes bytes;
  int64_t number;
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok) return 0;
  if (type == napi_number) {
    if (napi_get_value_int64(env, value, &number) != napi_ok) return 0;
    *argument = (long)number;
    return 1;
  }
  if (!get_bytes(env, value, &bytes)) return 0;
  *argument = (long)bytes.at;
  return 1;
}

/* call(number, ...arguments): what syscall(2) returns; the negated errno of a call that failed. */
napi_value call_system(napi_env env, napi_callback_info info) {
  napi_value argv[1 + MOST_ARGUMENTS], result;
  size_t argc = 1 + MOST_ARGUMENTS;
  long a[1 + MOST_ARGUMENTS] = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 || argc > 1 + MOST_ARGUMENTS)
    return refuse(env, "call(number, ...up to six arguments)");
  for (size_t i = 0; i < argc; i += 1) {
    if (!get_argument(env, argv[i], &a[i])) return refuse(env, "an argument is neither a number nor a Uint8Array");
  }
  const long got = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
  return napi_create_int64(env, got == -1 ? -errno : got, &result) == napi_ok ? result : NULL;
}

/* address(bytes): where they are. */
napi_value address_of(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  size_t argc = 1;
  struct bytes bytes;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 1 || !get_bytes(env, argv[0], &bytes))
    return refuse(env, "address(bytes)");
  return napi_create_int64(env, (int64_t)(intptr_t)bytes.at, &result) == napi_ok ? result : NULL;
}

/* store(address, bytes): writes them there; the caller has mapped that memory. */
napi_value store_at(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  int64_t address;
  struct bytes bytes;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 2 ||
      napi_get_value_int64(env, argv[0], &address) != napi_ok || !get_bytes(env, argv[1], &bytes))
    return refuse(env, "store(address, bytes)");
  memcpy((void *)(intptr_t)address, bytes.at, bytes.length);
  return NULL;
}

static const struct {
  const char *name;
  long number;
} NUMBERS[] = {
    {"SYS_fadvise64", SYS_fadvise64},
    {"SYS_fallocate", SYS_fallocate},
    {"SYS_fcntl", SYS_fcntl},
    {"SYS_ioctl", SYS_ioctl},
    {"SYS_linkat", SYS_linkat},
    {"SYS_lseek", SYS_lseek},
    {"SYS_mmap", SYS_mmap},
    {"SYS_munmap", SYS_munmap},
    {"SYS_ppoll", SYS_ppoll},
    {"SYS_ptrace", SYS_ptrace},
    {"SYS_renameat2", SYS_renameat2},
    {"SYS_sync_file_range", SYS_sync_file_range},
    {"SYS_wait4", SYS_wait4},
};

napi_status export_numbers(napi_env env, napi_value exports) {
  for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i += 1) {
    napi_value number;
    napi_status status = napi_create_int64(env, NUMBERS[i].number, &number);
    if (status == napi_ok) status = napi_set_named_property(env, exports, NUMBERS[i].name, number);
    if (status != napi_ok) return status;
  }
  return napi_ok;
}
