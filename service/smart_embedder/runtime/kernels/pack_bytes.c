/* Weights of int8 on their way into panels: which pairs of them may be multiplied at once. */

#include "bytes.h"

typedef int8_t Block[COLUMNS][GROUP];

/* A group of a panel's weights; what is beyond their edges is 0. */
static void take(const int8_t *weight, long width, long depth, long column, long k, Block block) {
  for (long i = 0; i < COLUMNS; i++)
    for (long j = 0; j < GROUP; j++)
      block[i][j] = column + i < width && k + j < depth ? weight[(column + i) * depth + k + j] : 0;
}

/* Whether two products never leave 16 bits, whatever the bytes of x: 255 * 128 is the most. */
static int fits(Block block, const int *pairs) {
  int all = 1;
  for (long i = 0; i < COLUMNS; i++)
    for (int j = 0; j < GROUP; j += 2) {
      int sum = block[i][pairs[j]] + block[i][pairs[j + 1]];
      all &= -128 <= sum && sum <= 128;
    }
  return all;
}

/* The first way to pair a group that fits, or -1. */
static int way_of(Block block) {
  for (int way = 0; way < WAYS; way++)
    if (WAYS == 1 || fits(block, PAIRS[way])) return way;
  return -1;
}

static long steps_of(const int8_t *weight, long width, long depth, long column) {
  long steps = 0;
  for (long k = 0; k < depth; k += GROUP) {
    Block block;
    take(weight, width, depth, column, k, block);
    steps += way_of(block) < 0 ? 2 : 1;
  }
  return steps;
}

static long lines(long bytes) { return parts(bytes, 64) * 64; }
static long front_of(long width) { return lines(parts(width, COLUMNS) * sizeof(Panel)); }
static long size_of(long steps) { return lines(steps * (BYTES + sizeof(int32_t))); }

/* Bytes of these weights (width x depth) when they are packed. */
long packed_bytes(const int8_t *weight, long width, long depth) {
  long size = front_of(width);
  for (long column = 0; column < width; column += COLUMNS)
    size += size_of(steps_of(weight, width, depth, column));
  return size;
}

/* One step: all of a block's weights, or one half of each. */
static void write_step(Block block, const int *pairs, int halves, int half, int8_t *w) {
  for (long i = 0; i < COLUMNS; i++)
    for (int j = 0; j < GROUP; j++) {
      int value = block[i][pairs[j]], part = value / 2;
      *w++ = !halves ? value : half ? value - part : part;
    }
}

static void pack_panel(const int8_t *weight, long width, long depth, long column, int8_t *w,
                       long steps) {
  int32_t *place = (int32_t *)(w + steps * BYTES);
  for (long k = 0; k < depth; k += GROUP) {
    Block block;
    take(weight, width, depth, column, k, block);
    int way = way_of(block), halves = way < 0;
    for (int half = 0; half <= halves; half++, w += BYTES) {
      write_step(block, PAIRS[most(way, 0)], halves, half, w);
      *place++ = k / GROUP * WAYS + most(way, 0);
    }
  }
}

void pack_bytes(const int8_t *weight, int8_t *packed, long width, long depth) {
  Panel *panel = (Panel *)packed;
  long begin = front_of(width);
  for (long column = 0; column < width; column += COLUMNS, panel++) {
    *panel = (Panel){begin, steps_of(weight, width, depth, column)};
    pack_panel(weight, width, depth, column, packed + begin, panel->steps);
    begin += size_of(panel->steps);
  }
}
