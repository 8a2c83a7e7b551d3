/* Weights of int8 on their way into panels: which pairs of them may be multiplied at once. */

#include "bytes.h"

typedef int8_t Block[COLUMNS][GROUP];

/* A group of a panel's weights; what is beyond their edges is 0. */
static void read_block(const int8_t *weight, long width, long depth, long column, long k, Block block) {
  for (long i = 0; i < COLUMNS; i++)
    for (long j = 0; j < GROUP; j++)
      block[i][j] = column + i < width && k + j < depth ? weight[(column + i) * depth + k + j] : 0;
}

/* Whether on one side two products never leave 16 bits, whatever the bytes of x: 255 * 128 fits, 255 * 129
   does not, and of weights with different signs one product alone is the most. */
static int fits(Block block, int side, const int *pairs) {
  int good = 1;
  for (long i = side * LANES; i < (side + 1) * LANES; i++)
    for (int j = 0; j < GROUP; j += 2) {
      int sum = block[i][pairs[j]] + block[i][pairs[j + 1]];
      good &= -128 <= sum && sum <= 128;
    }
  return good;
}

/* How a group is paired, and which sides are halved for it. */
typedef struct {
  int way, halved[2];
} Choice;

/* The way that halves the fewest sides. */
static Choice choose_way(Block block) {
  if (WAYS == 1) return (Choice){0};
  Choice best = {0, {1, 1}};
  for (int way = 0; way < WAYS && best.halved[0] + best.halved[1]; way++) {
    Choice other = {way, {!fits(block, 0, PAIRS[way]), !fits(block, 1, PAIRS[way])}};
    if (other.halved[0] + other.halved[1] < best.halved[0] + best.halved[1]) best = other;
  }
  return best;
}

static Panel measure(const int8_t *weight, long width, long depth, long column) {
  Panel panel = {.steps = parts(depth, GROUP)};
  for (long k = 0; k < depth; k += GROUP) {
    Block block;
    read_block(weight, width, depth, column, k, block);
    Choice choice = choose_way(block);
    for (int side = 0; side < 2; side++) panel.sides[side] += choice.halved[side];
  }
  return panel;
}

static long lines(long bytes) { return parts(bytes, 64) * 64; }
static long front_of(long width) { return lines(parts(width, COLUMNS) * sizeof(Panel)); }
static long size_of(Panel panel) {
  long steps = panel.steps + panel.sides[0] + panel.sides[1];
  return lines(bytes_of(panel) + steps * sizeof(int32_t));
}

/* Bytes of these weights (width x depth) when they are packed. */
long packed_bytes(const int8_t *weight, long width, long depth) {
  long size = front_of(width);
  for (long column = 0; column < width; column += COLUMNS)
    size += size_of(measure(weight, width, depth, column));
  return size;
}

/* One side of a step, or half of each of its weights, whose rest is a step of that side alone. */
static void pack_side(Block block, int side, const int *pairs, int8_t *w, int8_t *rest) {
  for (long i = side * LANES; i < (side + 1) * LANES; i++)
    for (int j = 0; j < GROUP; j++) {
      int value = block[i][pairs[j]], half = value / 2;
      *w++ = rest ? half : value;
      if (rest) *rest++ = value - half;
    }
}

static void pack_panel(const int8_t *weight, long width, long depth, long column, int8_t *w, Panel panel) {
  int8_t *rest[2] = {w + panel.steps * STEP, w + panel.steps * STEP + panel.sides[0] * SIDE};
  int32_t *place = (int32_t *)(w + bytes_of(panel)), *of_rest[2];
  of_rest[0] = place + panel.steps, of_rest[1] = of_rest[0] + panel.sides[0];
  for (long k = 0; k < depth; k += GROUP, place++) {
    Block block;
    read_block(weight, width, depth, column, k, block);
    Choice choice = choose_way(block);
    *place = k / GROUP * WAYS + choice.way;
    for (int side = 0; side < 2; side++, w += SIDE) {
      int halved = choice.halved[side];
      pack_side(block, side, PAIRS[choice.way], w, halved ? rest[side] : 0);
      if (halved) *of_rest[side]++ = *place, rest[side] += SIDE;
    }
  }
}

void pack_bytes(const int8_t *weight, int8_t *packed, long width, long depth) {
  Panel *panel = (Panel *)packed;
  long begin = front_of(width);
  for (long column = 0; column < width; column += COLUMNS, panel++) {
    *panel = measure(weight, width, depth, column);
    panel->begin = begin;
    pack_panel(weight, width, depth, column, packed + begin, *panel);
    begin += size_of(*panel);
  }
}
