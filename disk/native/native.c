/* The module that Node loads: disk/native.ts says what each function is for. */

#include "native.h"

int get_bytes(napi_env env, napi_value value, struct bytes *bytes) {
  napi_typedarray_type type;
  void *at = NULL;
  if (napi_get_typedarray_info(env, value, &type, &bytes->length, &at, NULL, NULL) != napi_ok) return 0;
  bytes->at = at;
  return type == napi_uint8_array;
}

int get_count(napi_env env, napi_value value, size_t *count) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return 0;
  if (!(number >= 0 && number <= UINT32_MAX)) return 0;
  *count = (size_t)number;
  return (double)*count == number;
}

napi_value refuse(napi_env env, const char *problem) {
  napi_throw_range_error(env, NULL, problem);
  return NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {.utf8name = "call", .method = call_system, .attributes = napi_default_jsproperty},
      {.utf8name = "address", .method = address_of, .attributes = napi_default_jsproperty},
      {.utf8name = "store", .method = store_at, .attributes = napi_default_jsproperty},
      {.utf8name = "digest", .method = digest_one, .attributes = napi_default_jsproperty},
      {.utf8name = "fingerprints", .method = fingerprint_all, .attributes = napi_default_jsproperty},
      {.utf8name = "scan", .method = scan_file, .attributes = napi_default_jsproperty},
  };
  const size_t count = sizeof functions / sizeof *functions;
  if (napi_define_properties(env, exports, count, functions) != napi_ok) return NULL;
  return export_numbers(env, exports) == napi_ok ? exports : NULL;
}
