/* Whose threads the kernels run on: two functions of the OpenMP that torch has loaded. */

#include "pool.h"

void (*run_on_all)(void (*)(void *), void *, unsigned, unsigned);
void (*wait_for_all)(void);

void use_pool(void (*parallel)(void (*)(void *), void *, unsigned, unsigned), void (*barrier)(void)) {
  run_on_all = parallel;
  wait_for_all = barrier;
}
