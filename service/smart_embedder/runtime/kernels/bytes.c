/* The int8 product of rows with fixed weights: bytes times bytes, summed in 32 bits.

   Each row is spread over 0..255 between its lowest and its highest value, so its numbers do not depend
   on the rows beside it; each row of weights has one scale. Integer sums are exact: every processor gives
   the same. Those with VNNI multiply four bytes at a time. Others widen two at a time to 16 bits, since
   their product of bytes saturates, which no rounding of ours would be safe from. */

#include <immintrin.h>
#include <stdint.h>

#include "pool.h"
#include "tile.h"

#if LANES == 16
#define GROUP 4
typedef uint8_t Digit;
#else
#define GROUP 2
typedef int16_t Digit;
#endif

/* Rows that meet a panel while the second cache holds it. */
enum { CHUNK = 40 * TILE, BYTES = COLUMNS * GROUP, LINES = (BYTES + 63) / 64 };

/* What the bytes of a row stand for. */
typedef struct {
  float step, lowest;
} Range;

typedef struct {
  const float *x;
  const int8_t *weight;
  const float *scales, *offsets, *bias, *residual;
  float *y;
  Range *ranges;
  int32_t *packed;
  long stride, rows, depth, width, groups, panels, threads;
  int curved;
  long next_tile, next_unit;
} Product;

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

/* The rows of a tile as bytes, GROUP of them after one another, the rows of a group side by side. */
static void pack_tile(const Product *job, long tile) {
  long first = tile * TILE, rows = least(TILE, job->rows - first);
  int32_t *out = job->packed + first * job->groups;
  Digit digits[job->groups * GROUP];
  for (long k = job->depth; k < job->groups * GROUP; k++) digits[k] = 0;
  for (long row = 0; row < rows; row++) {
    const float *x = job->x + (first + row) * job->stride;
    Range range = range_of(x, job->depth);
    float often = 1 / range.step;
    for (long k = 0; k < job->depth; k++)
      /* The half makes it rounding. What is not finite becomes any byte: the range says what it was. */
      digits[k] = (int)((x[k] - range.lowest) * often + 0.5f);
    for (long group = 0; group < job->groups; group++)
      __builtin_memcpy(out + group * rows + row, digits + group * GROUP, 4);
    job->ranges[first + row] = range;
  }
}

#if LANES == 8
typedef __m256i Integers;
static INLINE Integers all_of(int value) { return _mm256_set1_epi32(value); }
static INLINE Integers weights_of(const int8_t *w) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
}
static INLINE Integers add_products(Integers sum, Integers x, Integers w) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
}
#elif defined(__AVX512VNNI__)
typedef __m512i Integers;
static INLINE Integers all_of(int value) { return _mm512_set1_epi32(value); }
static INLINE Integers weights_of(const int8_t *w) { return _mm512_loadu_si512(w); }
static INLINE Integers add_products(Integers sum, Integers x, Integers w) {
  return _mm512_dpbusd_epi32(sum, x, w);
}
#else /* the wide code on a narrow processor, for tests: the same, in words */
typedef Whole Integers;
static INLINE Integers all_of(int value) { return value - (Integers){}; }
static INLINE Integers weights_of(const int8_t *w) {
  Integers all;
  __builtin_memcpy(&all, w, sizeof all);
  return all;
}
static INLINE Integers add_products(Integers sum, Integers x, Integers w) {
  for (int byte = 0; byte < 32; byte += 8) sum += (x >> byte & 255) * (w << (24 - byte) >> 24);
  return sum;
}
#endif

static INLINE void multiply_bytes(int rows, int lines, const int32_t *x, const int8_t *w,
                                  long groups, Sums *sums, Ahead ahead) {
  Integers left[TILE], right[TILE];
  for (int row = 0; row < rows; row++) left[row] = right[row] = all_of(0);
  for (long group = 0; group < groups; group++) {
    for (int line = 0; line < lines; line++) fetch(ahead.from + line * 64);
    Integers w_left = weights_of(w), w_right = weights_of(w + BYTES / 2);
    for (int row = 0; row < rows; row++) {
      Integers value = all_of(x[row]);
      left[row] = add_products(left[row], value, w_left);
      right[row] = add_products(right[row], value, w_right);
    }
    x += rows, w += BYTES, ahead.from += ahead.stride;
  }
  for (int row = 0; row < rows; row++) {
    store(sums[row], __builtin_convertvector((Whole)left[row], Lanes));
    store(sums[row] + LANES, __builtin_convertvector((Whole)right[row], Lanes));
  }
}

static INLINE void multiply_some_bytes(long rows, int lines, const int32_t *x, const int8_t *w,
                                       long groups, Sums *sums, Ahead ahead) {
#define ROWS(n) case n: multiply_bytes(n, lines, x, w, groups, sums, ahead); break;
  switch (rows) { EACH_ROWS }
#undef ROWS
}

/* What a column of a panel needs to turn its sums into numbers again. */
typedef struct {
  Sums scales, offsets, bias;
} Columns;

/* Turn the sums of a tile into numbers: the weights' scale, the row's step, and what its lowest value is
   to every column. */
static INLINE void finish_tile(const Product *job, const Columns *column, Sums *sums, long row,
                               long rows, long first) {
  long columns = least(COLUMNS, job->width - first);
  for (long i = 0; i < rows; i++) {
    long at = (row + i) * job->width + first;
    Range range = job->ranges[row + i];
    for (int half = 0; half < COLUMNS; half += LANES) {
      Lanes value = load(sums[i] + half) * load(column->scales + half) * range.step;
      value = value + load(column->bias + half);
      store(sums[i] + half, value + load(column->offsets + half) * range.lowest);
    }
    finish(sums[i], job->curved, job->residual ? job->residual + at : 0, job->y + at, columns);
  }
}

static void multiply_panel(const Product *job, long unit, long next) {
  long panel = unit % job->panels, row = unit / job->panels * CHUNK, size = job->groups * BYTES;
  long rows = least(CHUNK, job->rows - row), columns = least(COLUMNS, job->width - panel * COLUMNS);
  const int8_t *w = job->weight + panel * size;
  const char *ahead = (const char *)job->weight + next % job->panels * size;
  Columns column = {0};
  copy(column.scales, job->scales + panel * COLUMNS, columns);
  copy(column.offsets, job->offsets + panel * COLUMNS, columns);
  if (job->bias) copy(column.bias, job->bias + panel * COLUMNS, columns);
  Sums sums[TILE];
  for (long tile = 0; tile < rows; tile += TILE) {
    long some = least(TILE, rows - tile);
    const int32_t *x = job->packed + (row + tile) * job->groups;
    if (rows <= TILE) multiply_some_bytes(some, LINES, x, w, job->groups, sums, (Ahead){ahead, BYTES});
    else if (tile <= TILE)
      multiply_some_bytes(some, 1, x, w, job->groups, sums,
                          (Ahead){ahead + tile / TILE * size / 2, BYTES / 2});
    else multiply_some_bytes(some, 0, x, w, job->groups, sums, (Ahead){0});
    finish_tile(job, &column, sums, row + tile, some, panel * COLUMNS);
  }
}

static void work(void *data) {
  Product *job = data;
  long tiles = parts(job->rows, TILE), units = job->panels * parts(job->rows, CHUNK);
  for (long tile; (tile = take(&job->next_tile)) < tiles;) pack_tile(job, tile);
  wait_for_all();
  for (long unit; (unit = take(&job->next_unit)) < units;)
    multiply_panel(job, unit, least(unit + job->threads, units - 1));
}

/* Bytes of a packed weight: whole panels of whole groups. */
long packed_bytes(long width, long depth) {
  return parts(width, COLUMNS) * COLUMNS * parts(depth, GROUP) * GROUP;
}

/* Pack weights (width x depth) into panels; what is beyond their edges is 0. */
void pack_bytes(const int8_t *weight, int8_t *panels, long width, long depth) {
  for (long first = 0; first < width; first += COLUMNS)
    for (long group = 0; group < depth; group += GROUP)
      for (long column = first; column < first + COLUMNS; column++)
        for (long k = group; k < group + GROUP; k++)
          *panels++ = column < width && k < depth ? weight[column * depth + k] : 0;
}

/* `offsets` are the sums of the rounded weights of each column; the rest is as `product` has it. `scratch`
   has two numbers more for each row. */
void product_of_bytes(const int8_t *weight, const float *scales, const float *offsets,
                      const float *bias, const float *x, long stride, const float *residual,
                      float *y, float *scratch, long rows, long depth, long width, int curved,
                      long threads) {
  Product job = {
      .x = x, .stride = stride, .weight = weight, .scales = scales, .offsets = offsets,
      .bias = bias, .residual = residual, .y = y, .ranges = (Range *)scratch,
      .packed = (int32_t *)(scratch + 2 * rows), .rows = rows, .depth = depth, .width = width,
      .groups = parts(depth, GROUP), .panels = parts(width, COLUMNS), .threads = threads,
      .curved = curved,
  };
  run(work, &job, rows * depth * width, threads);
}
