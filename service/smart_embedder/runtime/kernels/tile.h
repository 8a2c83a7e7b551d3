/* Tiles and panels: a few rows times a panel of columns, their sums in registers. */

#pragma once

#include "lanes.h"

enum { COLUMNS = 2 * LANES };

typedef float Sums[COLUMNS];

/* What is read from memory after this, so that it waits in the second cache when it is wanted. */
typedef struct {
  const char *from;
  long stride;
} Ahead;

/* sums (+)= x w: `depth` times a number of each row times a row of the panel. The rows' numbers stand
   side by side, `step` numbers behind those of the last time; `lines` of 64 bytes are fetched a time. */
static INLINE void multiply(int rows, int lines, const float *x, long step, const float *w,
                            long depth, Sums *sums, int first, Ahead ahead) {
  Lanes left[TILE], right[TILE];
  for (int row = 0; row < rows; row++) left[row] = right[row] = all(0);
  for (long k = 0; k < depth; k++) {
    for (int line = 0; line < lines; line++) fetch(ahead.from + line * 64);
    Lanes w_left = load(w), w_right = load(w + LANES);
    for (int row = 0; row < rows; row++) {
      Lanes value = all(x[row]);
      left[row] += value * w_left;
      right[row] += value * w_right;
    }
    x += step, w += COLUMNS, ahead.from += ahead.stride;
  }
  for (int row = 0; row < rows; row++) {
    store(sums[row], first ? left[row] : load(sums[row]) + left[row]);
    store(sums[row] + LANES, first ? right[row] : load(sums[row] + LANES) + right[row]);
  }
}

/* The cases of a switch over the rows of a tile, by a macro ROWS: each number has code of its own, for its
   registers. */
#if LANES == 16
#define EACH_ROWS \
  ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#else
#define EACH_ROWS ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#endif

static INLINE void multiply_some(long rows, int lines, const float *x, long step, const float *w,
                                 long depth, Sums *sums, int first, Ahead ahead) {
#define ROWS(n) case n: multiply(n, lines, x, step, w, depth, sums, first, ahead); break;
  switch (rows) { EACH_ROWS }
#undef ROWS
}
