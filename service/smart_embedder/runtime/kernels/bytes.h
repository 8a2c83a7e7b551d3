/* How weights of int8 are packed: into panels, a panel into steps, a step is GROUP bytes of each column.

   VNNI multiplies four pairs of bytes and sums them in 32 bits. AVX2 sums two products in 16 bits, 0..255
   times -127..127, and cuts off what they cannot hold. So weights are paired where packing sees that no sum
   can be that large: a group's four numbers make two pairs in three ways, and one of the three mostly does
   for all columns. Where none does, one side of the panel, or both, gets half of its weights in the step
   and half in a step of its own. The rows are packed in all three orders, and each step names its own.
   What 32 bits hold is enough for a depth of 66,312: 255 * 127 * 66,312 is the most that fits. */

#pragma once

#include <stdint.h>

#include "tile.h"

enum {
  GROUP = 4,
  STEP = COLUMNS * GROUP,
  SIDE = STEP / 2,
  WAYS = LANES == 16 ? 1 : 3,
};

/* The ways to pair a group's numbers: the first two and the last two of each are summed. */
static const int PAIRS[][GROUP] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {1, 2, 3, 0}};

/* The bytes of some groups in one of these orders. */
static INLINE Whole paired(Whole groups, int way) {
  if (way == 1) return (groups & (int)0xff0000ff) | (groups << 8 & 0xff0000) | (groups >> 8 & 0xff00);
  if (way == 2) return (groups >> 8 & 0xffffff) | groups << 24;
  return groups;
}

/* Where a panel begins, and how many steps it has together and on its left and right side alone. Behind
   their bytes stands an int32_t for each: the place of what it multiplies, among the ways of a row's groups.
   All panels of a weight stand at its front. */
typedef struct {
  long begin, steps, sides[2];
} Panel;

static INLINE long bytes_of(Panel panel) {
  return panel.steps * STEP + (panel.sides[0] + panel.sides[1]) * SIDE;
}
