/* The threads that kernels run on: torch's own, because two pools would spin for the same cores. */

#pragma once

extern void (*run_on_all)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
extern void (*wait_for_all)(void);

/* The next piece of work: a thread that is slow takes fewer of them, and nobody waits for it long. */
static inline long take(long *next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }

/* Run `work` on some threads, or on one where the multiplications would not pay for waking others. */
static inline void run(void (*work)(void *), void *data, long multiplications, long threads) {
  run_on_all(work, data, multiplications < (1 << 18) ? 1 : threads, 0);
}
