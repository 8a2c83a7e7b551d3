/* A product of rows with a fixed weight, and what becomes of its numbers: y = gelu(x W' + bias) + residual. */

#pragma once

#include "tile.h"

/* What stays the same from call to call; `_Weight` in __init__.py. Scales and offsets are int8's alone. */
typedef struct {
  const void *packed;
  const float *bias, *scales, *offsets;
  long depth, width;
  int curved;
} Weight;

typedef struct {
  const Weight *weight;
  const float *x, *residual;
  float *y, *scratch;
  long stride; /* numbers from one row of x to the next */
  long rows, threads;
  long next_tile, next_unit;
} Product;

static INLINE long panels_of(const Weight *weight) { return parts(weight->width, COLUMNS); }

/* What a panel's columns get from `from`: nothing beyond the width. */
static INLINE void spread(Sums to, const float *from, long column, long width) {
  for (long i = 0; i < COLUMNS; i++) to[i] = from && column + i < width ? from[column + i] : 0;
}

/* Write a part of a row while it is in registers; the last panel may be wider than y. */
static INLINE void finish(const Product *job, long row, long column, Lanes left, Lanes right) {
  long width = job->weight->width, at = row * width + column, columns = least(COLUMNS, width - column);
  const float *residual = job->residual ? job->residual + at : 0;
  if (job->weight->curved) left = gelu(left), right = gelu(right);
  if (columns == COLUMNS) {
    store(job->y + at, residual ? left + load(residual) : left);
    store(job->y + at + LANES, residual ? right + load(residual + LANES) : right);
    return;
  }
  Sums edge;
  store(edge, left), store(edge + LANES, right);
  for (long i = 0; i < columns; i++) job->y[at + i] = residual ? edge[i] + residual[i] : edge[i];
}
