{
  "targets": [
    {
      "target_name": "nvsnap",
      "sources": [
        "disk/native/native.c",
        "disk/native/system.c",
        "disk/native/xxh3.c",
        "disk/native/xxh3-x86.c"
      ],
      "include_dirs": ["<!(node -p \"path.dirname(require.resolve('xxhash-addon'))\")/xxHash"],
      "cflags": ["-O3", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"]
    }
  ]
}
