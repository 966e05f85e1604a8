/* xxHash's code for each kind of vectors that x86 processors have; it chooses when it runs. */

#if defined(__x86_64__)
#include "xxh_x86dispatch.c"
#endif
