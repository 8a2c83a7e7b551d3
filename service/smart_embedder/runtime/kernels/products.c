/* The fp32 product of rows with fixed weights.

   Weights are packed once into panels of as many columns as two registers hold, so that a panel is
   read from front to back. Few rows are bound by reading them: while a block of a panel is
   multiplied, the next one is fetched into the second cache, so that reading and multiplying overlap
   instead of adding up. Many rows are bound by multiplying: a block stays in the first cache while
   all rows of a chunk pass by.

   Every number of y is summed in the same order (blocks of CHAIN, each from front to back), whatever
   the number of rows, the processor's width or the threads: a text's numbers are the same alone and
   in any batch. Short chains are also what keeps the last digits. */

#include "pool.h"
#include "product.h"

enum {
  LINES = COLUMNS * 4 / 64,
  /* Terms that one chain sums. 256 x COLUMNS weights, 16 or 32 KB, stay in the first cache. */
  CHAIN = 256,
  /* Rows whose sums a thread keeps at once: 15 or 60 KB beside the weights in the second cache. */
  CHUNK = 40 * TILE,
};

/* The rows of a tile, one column after another: what meets one row of a panel stands together. */
static void pack_tile(const Product *job, long tile) {
  long first = tile * TILE, rows = least(TILE, job->rows - first), depth = job->weight->depth;
  float *out = job->scratch + first * depth;
  for (long row = 0; row < rows; row++) {
    const float *x = job->x + (first + row) * job->stride;
    for (long k = 0; k < depth; k++) out[k * rows + row] = x[k];
  }
}

/* Add the bias to the sums of a chunk, and write them out. */
static void finish_chunk(const Product *job, Sums *sums, long row, long rows, long column) {
  Sums bias;
  spread(bias, job->weight->bias, column, job->weight->width);
  for (long i = 0; i < rows; i++)
    finish(job, row + i, column, load(sums[i]) + load(bias),
           load(sums[i] + LANES) + load(bias + LANES));
}

/* All rows of a chunk times one panel. Its first two tiles fetch what comes next: another block, or the
   first of the panel that this thread will probably take then. */
static void multiply_panel(const Product *job, long unit, long next) {
  long panels = panels_of(job->weight), panel = unit % panels, whole = job->weight->depth;
  long row = unit / panels * CHUNK, rows = least(CHUNK, job->rows - row);
  const float *packed = job->weight->packed, *w = packed + panel * whole * COLUMNS;
  const float *then = packed + next % panels * whole * COLUMNS;
  Sums sums[CHUNK];
  for (long k = 0; k < whole; k += CHAIN, w += CHAIN * COLUMNS) {
    long depth = least(CHAIN, whole - k);
    const char *ahead = (const char *)(k + CHAIN < whole ? w + CHAIN * COLUMNS : then);
    for (long tile = 0; tile < rows; tile += TILE) {
      long some = least(TILE, rows - tile);
      const float *x = job->scratch + (row + tile) * whole + k * some;
      if (rows <= TILE)
        multiply_some(some, LINES, x, some, w, depth, sums, !k, (Ahead){ahead, LINES * 64});
      else if (tile <= TILE)
        multiply_some(some, 1, x, some, w, depth, sums + tile, !k,
                      (Ahead){ahead + tile / TILE * depth * LINES * 32, LINES * 32});
      else multiply_some(some, 0, x, some, w, depth, sums + tile, !k, (Ahead){0});
    }
  }
  finish_chunk(job, sums, row, rows, panel * COLUMNS);
}

static void work(void *data) {
  Product *job = data;
  long tiles = parts(job->rows, TILE), units = panels_of(job->weight) * parts(job->rows, CHUNK);
  for (long tile; (tile = take(&job->next_tile)) < tiles;) pack_tile(job, tile);
  wait_for_all();
  for (long unit; (unit = take(&job->next_unit)) < units;)
    multiply_panel(job, unit, least(unit + job->threads, units - 1));
}

/* Numbers in a packed weight: whole panels. */
long packed_size(long width, long depth) { return parts(width, COLUMNS) * COLUMNS * depth; }

/* Pack weights (width x depth) into panels; the last is filled up with zeros. */
void pack(const float *weight, float *panels, long width, long depth) {
  for (long first = 0; first < width; first += COLUMNS)
    for (long k = 0; k < depth; k++)
      for (long column = first; column < first + COLUMNS; column++)
        *panels++ = column < width ? weight[column * depth + k] : 0;
}

/* `scratch` has room for all rows of x. */
void product(const Weight *weight, const float *x, long stride, const float *residual, float *y,
             float *scratch, long rows, long threads) {
  Product job = {weight, x, residual, y, scratch, stride, rows, threads, 0, 0};
  run(work, &job, rows * weight->depth * weight->width, threads);
}
