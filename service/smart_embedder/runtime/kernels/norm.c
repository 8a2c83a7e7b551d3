/* Normalisation of rows of numbers. With a bias: to a variance of 1 around 0, then gain and bias. Without: to a
   root mean square of 1, then the gain.

   A row is summed in PARTS partial sums, whatever the processor's width, so every processor gives the
   same. Differences from the mean are squared in a second pass: no digits cancel. */

#include "lanes.h"
#include "pool.h"

enum { PARTS = 32 };

typedef float Parts __attribute__((vector_size(PARTS * 4)));
typedef float AnyParts __attribute__((vector_size(PARTS * 4), aligned(4)));

typedef struct {
  const float *x, *gain, *bias;
  float *y;
  long stride, heads; /* numbers from one token to the next, and rows of a token */
  long rows, width;
  float epsilon;
  long next_row;
} Norm;

static INLINE float total(Parts parts) {
  float sums[PARTS];
  __builtin_memcpy(sums, &parts, sizeof sums);
  for (int half = PARTS / 2; half; half /= 2)
    for (int i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

static INLINE float mean(const float *x, long width) {
  Parts sums = {0};
  long i = 0;
  for (; i + PARTS <= width; i += PARTS) sums += *(const AnyParts *)(x + i);
  float sum = total(sums);
  for (; i < width; i++) sum += x[i];
  return sum / width;
}

static INLINE float mean_square(const float *x, long width, float middle) {
  Parts sums = {0};
  long i = 0;
  for (; i + PARTS <= width; i += PARTS) {
    Parts away = *(const AnyParts *)(x + i) - middle;
    sums += away * away;
  }
  float sum = total(sums);
  for (; i < width; i++) sum += (x[i] - middle) * (x[i] - middle);
  return sum / width;
}

static void normalise(const Norm *job, long row) {
  const float *x = job->x + row / job->heads * job->stride + row % job->heads * job->width;
  float *y = job->y + row * job->width, middle = job->bias ? mean(x, job->width) : 0;
  /* As a vector, because there is no library that has the root of a number. */
  Lanes power = all(mean_square(x, job->width, middle) + job->epsilon);
  float factor = 1 / __builtin_elementwise_sqrt(power)[0];
  for (long i = 0; i < job->width; i++)
    y[i] = (x[i] - middle) * factor * job->gain[i] + (job->bias ? job->bias[i] : 0);
}

static void work(void *data) {
  Norm *job = data;
  enum { SOME = 8 }; /* rows at a time: enough that taking them costs nothing */
  for (long row; (row = take(&job->next_row) * SOME) < job->rows;)
    for (long i = row; i < least(row + SOME, job->rows); i++) normalise(job, i);
}

/* Normalise `heads` rows of each token, one behind the other in x; those of y stand close. */
void norm(const float *x, long stride, long heads, const float *gain, const float *bias, float *y,
          long rows, long width, float epsilon, long threads) {
  Norm job = {x, gain, bias, y, stride, heads, rows, width, epsilon, 0};
  run(work, &job, rows * width, threads);
}
