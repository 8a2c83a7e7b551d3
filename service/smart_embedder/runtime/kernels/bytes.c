/* The int8 product of rows with fixed weights: bytes times bytes, summed in 32 bits.

   Each row is spread over 0..255 between its lowest and its highest value, so its numbers do not depend
   on the rows beside it; each row of weights has one scale. Integer sums are exact, and `bytes.h` says why
   they are so without VNNI too: every processor gives the same. */

#include <immintrin.h>

#include "bytes.h"
#include "pool.h"
#include "product.h"

enum {
  /* Rows that meet a panel while the second cache holds it. */
  CHUNK = 40 * TILE,
  LINES = STEP / 64,
};

/* What the bytes of a row stand for. */
typedef struct {
  float step, lowest;
} Range;

/* The scratch of a product: the ranges of all rows, then their bytes. */
static INLINE Range *ranges_of(const Product *job) { return (Range *)job->scratch; }
static INLINE int32_t *rows_of(const Product *job, long row) {
  return (int32_t *)(ranges_of(job) + job->rows) + row * WAYS * parts(job->weight->depth, GROUP);
}

/* Not finite if a number of the row is not: comparisons alone would pass over it. */
static INLINE Range range_of(const float *x, long depth) {
  Lanes lows = all(x[0]), highs = lows, nothing = all(0);
  long k = 0;
  for (; k + LANES <= depth; k += LANES) {
    Lanes some = load(x + k);
    lows = smaller(lows, some), highs = larger(highs, some), nothing += some * 0.0f;
  }
  float lowest = x[0], highest = x[0], none = 0;
  for (int lane = 0; lane < LANES; lane++) {
    lowest = lows[lane] < lowest ? lows[lane] : lowest;
    highest = highs[lane] > highest ? highs[lane] : highest;
    none += nothing[lane];
  }
  for (; k < depth; k++) {
    lowest = x[k] < lowest ? x[k] : lowest;
    highest = x[k] > highest ? x[k] : highest;
    none += x[k] * 0.0f;
  }
  float step = (highest - lowest) / 255;
  return (Range){step > 1.17549435e-38f ? step : 1.17549435e-38f, lowest + none};
}

/* A row as bytes. What is not finite becomes any byte: the range says what it was. */
static INLINE void round_row(const float *x, long depth, Range range, uint8_t *bytes) {
  float often = 1 / range.step;
  /* The half makes it rounding. */
  for (long k = 0; k < depth; k++) bytes[k] = (int)((x[k] - range.lowest) * often + 0.5f);
}

/* Write a row between the others of its tile: of each group and each way the rows are side by side. */
static INLINE void spread_row(const uint8_t *bytes, long groups, long rows, int32_t *out) {
  for (long group = 0; group < groups; group += LANES) {
    int32_t ways[WAYS][LANES];
    for (int way = 0; way < WAYS; way++) {
      Whole some;
      __builtin_memcpy(&some, bytes + group * GROUP, sizeof some);
      some = paired(some, way);
      __builtin_memcpy(ways[way], &some, sizeof some);
    }
    for (long i = 0; i < least(LANES, groups - group); i++)
      for (int way = 0; way < WAYS; way++, out += rows) *out = ways[way][i];
  }
}

static void pack_tile(const Product *job, long tile) {
  long first = tile * TILE, rows = least(TILE, job->rows - first), depth = job->weight->depth;
  long groups = parts(depth, GROUP);
  uint8_t bytes[parts(groups, LANES) * LANES * GROUP];
  for (unsigned long k = depth; k < sizeof bytes; k++) bytes[k] = 0;
  for (long row = 0; row < rows; row++) {
    const float *x = job->x + (first + row) * job->stride;
    Range range = ranges_of(job)[first + row] = range_of(x, depth);
    round_row(x, depth, range, bytes);
    spread_row(bytes, groups, rows, rows_of(job, first) + row);
  }
}

#if LANES == 8
typedef __m256i Integers;
static INLINE Integers all_of(int value) { return _mm256_set1_epi32(value); }
static INLINE Integers add_products(Integers sum, Integers x, const int8_t *w) {
  Integers pairs;
  /* In words, clang would keep w in a register, and one of the sums in memory. */
  __asm__("vpmaddubsw %2, %1, %0" : "=x"(pairs) : "x"(x), "m"(*(const __m256i *)w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#elif defined(__AVX512VNNI__)
typedef __m512i Integers;
static INLINE Integers all_of(int value) { return _mm512_set1_epi32(value); }
static INLINE Integers add_products(Integers sum, Integers x, const int8_t *w) {
  return _mm512_dpbusd_epi32(sum, x, _mm512_loadu_si512(w));
}
#else /* the wide code on a narrow processor, for tests: the same, in words */
typedef Whole Integers;
static INLINE Integers all_of(int value) { return value - (Integers){}; }
static INLINE Integers add_products(Integers sum, Integers x, const int8_t *from) {
  Integers w;
  __builtin_memcpy(&w, from, sizeof w);
  for (int byte = 0; byte < 32; byte += 8) sum += (x >> byte & 255) * (w << (24 - byte) >> 24);
  return sum;
}
#endif

/* The steps that one side has for itself. */
static INLINE void multiply_side(int rows, const int32_t *x, const int8_t *w, const int32_t *place,
                                 long steps, Integers *sums) {
  for (long step = 0; step < steps; step++, w += SIDE) {
    const int32_t *at = x + *place++ * (long)rows;
    for (int row = 0; row < rows; row++) sums[row] = add_products(sums[row], all_of(at[row]), w);
  }
}

static INLINE void multiply_bytes(int rows, int lines, const int32_t *x, const int8_t *w, Panel panel,
                                  Sums *sums, Ahead ahead) {
  Integers left[TILE], right[TILE];
  const int32_t *place = (const int32_t *)(w + bytes_of(panel));
  for (int row = 0; row < rows; row++) left[row] = right[row] = all_of(0);
  for (long step = 0; step < panel.steps; step++, w += STEP, ahead.from += ahead.stride) {
    for (int line = 0; line < lines; line++) fetch(ahead.from + line * 64);
    const int32_t *at = x + *place++ * (long)rows;
    for (int row = 0; row < rows; row++) {
      Integers value = all_of(at[row]);
      left[row] = add_products(left[row], value, w);
      right[row] = add_products(right[row], value, w + SIDE);
    }
  }
  multiply_side(rows, x, w, place, panel.sides[0], left);
  w += panel.sides[0] * SIDE, place += panel.sides[0];
  multiply_side(rows, x, w, place, panel.sides[1], right);
  for (int row = 0; row < rows; row++) {
    store(sums[row], __builtin_convertvector((Whole)left[row], Lanes));
    store(sums[row] + LANES, __builtin_convertvector((Whole)right[row], Lanes));
  }
}

static INLINE void multiply_some_bytes(long rows, int lines, const int32_t *x, const int8_t *w,
                                       Panel panel, Sums *sums, Ahead ahead) {
#define ROWS(n) case n: multiply_bytes(n, lines, x, w, panel, sums, ahead); break;
  switch (rows) { EACH_ROWS }
#undef ROWS
}

/* What a column of a panel needs to turn its sums into numbers again. */
typedef struct {
  Sums scales, offsets, bias;
} Columns;

static INLINE Lanes number(const Columns *column, int half, Lanes sum, Range range) {
  Lanes value = sum * load(column->scales + half) * range.step;
  value = value + load(column->bias + half);
  return value + load(column->offsets + half) * range.lowest;
}

/* Turn the sums of a tile into numbers: the weights' scale, the row's step, and what its lowest value is
   to every column. */
static INLINE void finish_tile(const Product *job, const Columns *column, Sums *sums, long row,
                               long rows, long first) {
  for (long i = 0; i < rows; i++) {
    Range range = ranges_of(job)[row + i];
    finish(job, row + i, first, number(column, 0, load(sums[i]), range),
           number(column, LANES, load(sums[i] + LANES), range));
  }
}

static INLINE Columns columns_of(const Weight *weight, long first) {
  Columns column;
  spread(column.scales, weight->scales, first, weight->width);
  spread(column.offsets, weight->offsets, first, weight->width);
  spread(column.bias, weight->bias, first, weight->width);
  return column;
}

/* All rows of a chunk times one panel. The first two tiles fetch the steps of the next; fetching the sides'
   steps and the places too gave nothing. */
static void multiply_panel(const Product *job, long unit, long next) {
  long count = panels_of(job->weight), first = unit % count * COLUMNS;
  long row = unit / count * CHUNK, rows = least(CHUNK, job->rows - row);
  const Panel *panels = job->weight->packed, panel = panels[unit % count];
  const char *packed = job->weight->packed, *ahead = packed + panels[next % count].begin;
  const int8_t *w = (const int8_t *)packed + panel.begin;
  Columns column = columns_of(job->weight, first);
  Sums sums[TILE];
  for (long tile = 0; tile < rows; tile += TILE) {
    long some = least(TILE, rows - tile), half = panel.steps * STEP / 2;
    const int32_t *x = rows_of(job, row + tile);
    if (rows <= TILE)
      multiply_some_bytes(some, LINES, x, w, panel, sums, (Ahead){ahead, STEP});
    else if (tile <= TILE)
      multiply_some_bytes(some, 1, x, w, panel, sums,
                          (Ahead){ahead + tile / TILE * half, STEP / 2});
    else multiply_some_bytes(some, 0, x, w, panel, sums, (Ahead){0});
    finish_tile(job, &column, sums, row + tile, some, first);
  }
}

static void work(void *data) {
  Product *job = data;
  long tiles = parts(job->rows, TILE), units = panels_of(job->weight) * parts(job->rows, CHUNK);
  for (long tile; (tile = take(&job->next_tile)) < tiles;) pack_tile(job, tile);
  wait_for_all();
  for (long unit; (unit = take(&job->next_unit)) < units;)
    multiply_panel(job, unit, least(unit + job->threads, units - 1));
}

/* As `product`; the offsets are the sums of each column's weights as rounding left them. `scratch` has four
   numbers more for each row: two are its range, and WAYS may make two more of a depth that GROUP does not
   divide. */
void product_of_bytes(const Weight *weight, const float *x, long stride, const float *residual, float *y,
                      float *scratch, long rows, long threads) {
  Product job = {weight, x, residual, y, scratch, stride, rows, threads, 0, 0};
  run(work, &job, rows * weight->depth * weight->width, threads);
}
