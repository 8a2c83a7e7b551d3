/* fp32 attention inside each text of a pack, with shared keys, causal order and windows.

   A unit of work is one head of COLUMNS queries of a text. Keys stand in rows and queries in lanes:
   scores, their largest and their sum need nothing across lanes, and what weighs the values is the
   panel that the scores were written to. Keys come in blocks, so no square of scores is ever made;
   the sums of earlier blocks are scaled down when a later one has a larger score. */

#include "pool.h"
#include "tile.h"

/* Keys whose scores are written out at once: 15 or 30 KB, in the first cache. */
enum { KEYS = 40 * 6 };
static const float HIDDEN = -1e30f;

typedef struct {
  const float *q, *k, *v;
  float *out, *packed;
  const int *starts; /* of the texts, and the end */
  long texts, heads, key_heads, head;
  long q_stride, k_stride, v_stride; /* numbers from one token to the next */
  long reach_back, reach_on;         /* tokens that a query sees before and behind itself */
  float scale;
  long next_pack, next_unit;
} Attention;

/* Keys of a text and a head by tiles, one dimension after another; its values in one piece behind them. */
static float *packed_of(const Attention *job, long text, long key_head) {
  long length = job->starts[text + 1] - job->starts[text];
  return job->packed + 2 * job->head * (job->starts[text] * job->key_heads + key_head * length);
}

static void pack_head(const Attention *job, long text, long key_head) {
  long first = job->starts[text], length = job->starts[text + 1] - first, head = job->head;
  const float *k = job->k + first * job->k_stride + key_head * head;
  const float *v = job->v + first * job->v_stride + key_head * head;
  float *keys = packed_of(job, text, key_head), *values = keys + length * head;
  for (long token = 0; token < length; token++, k += job->k_stride, v += job->v_stride) {
    long tile = token / TILE * TILE, rows = least(TILE, length - tile);
    for (long i = 0; i < head; i++) keys[tile * head + i * rows + token - tile] = k[i];
    for (long i = 0; i < head; i++) values[token * head + i] = v[i];
  }
}

/* Hide the keys that a query does not reach. */
static void hide(const Attention *job, Sums *scores, long key, long keys, long query) {
  for (long row = 0; row < keys; row++)
    for (long lane = 0; lane < COLUMNS; lane++) {
      long away = key + row - query - lane;
      if (away > job->reach_on || -away > job->reach_back) scores[row][lane] = HIDDEN;
    }
}

/* Turn scores into weights; gives what the sums of earlier blocks are to be multiplied by. */
static INLINE void weigh(Sums *scores, long keys, float *largest, float *total, float *shrink) {
  for (int half = 0; half < COLUMNS; half += LANES) {
    Lanes before = load(largest + half), now = before, sum = all(0);
    for (long row = 0; row < keys; row++) now = larger(now, load(scores[row] + half));
    for (long row = 0; row < keys; row++) {
      Lanes score = load(scores[row] + half), weight = exp_of(score - now);
      /* Where a whole block is hidden, its largest score is that of hidden ones too. */
      weight = choose(score <= all(HIDDEN), all(0), weight);
      store(scores[row] + half, weight);
      sum += weight;
    }
    Lanes factor = exp_of(before - now);
    store(largest + half, now);
    store(total + half, load(total + half) * factor + sum);
    store(shrink + half, factor);
  }
}

/* The queries of a unit as a panel, scaled; lanes behind the text's end get zeros. */
static INLINE void pack_queries(const Attention *job, const float *q, long queries, Sums *panel) {
  for (long lane = 0; lane < COLUMNS; lane++, q += job->q_stride)
    for (long i = 0; i < job->head; i++) panel[i][lane] = lane < queries ? q[i] * job->scale : 0;
}

static INLINE void scale_down(Sums *sums, long rows, const float *factor) {
  for (long row = 0; row < rows; row++)
    for (int half = 0; half < COLUMNS; half += LANES)
      store(sums[row] + half, load(sums[row] + half) * load(factor + half));
}

static void attend_unit(const Attention *job, long text, long head, long query) {
  long start = job->starts[text], length = job->starts[text + 1] - start, width = job->head;
  long queries = least(COLUMNS, length - query);
  const float *keys = packed_of(job, text, head * job->key_heads / job->heads);
  const float *values = keys + length * width;
  Sums panel[width], sums[width], scores[KEYS], largest, total = {0}, shrink;
  pack_queries(job, job->q + (start + query) * job->q_stride + head * width, queries, panel);
  for (int half = 0; half < COLUMNS; half += LANES) store(largest + half, all(HIDDEN));

  long begin = most(0, query - job->reach_back) / KEYS * KEYS;
  long end = least(length, query + queries + job->reach_on);
  for (long key = begin; key < end; key += KEYS) {
    long some = least(KEYS, end - key);
    for (long tile = 0; tile < some; tile += TILE) {
      long rows = least(TILE, length - key - tile);
      multiply_some(rows, 0, keys + (key + tile) * width, rows, panel[0], width, scores + tile, 1,
                    (Ahead){0});
    }
    if (key < query + queries - 1 - job->reach_back || key + some - 1 > query + job->reach_on)
      hide(job, scores, key, some, query);
    weigh(scores, some, largest, total, shrink);
    if (key > begin) scale_down(sums, width, shrink);
    for (long i = 0; i < width; i += TILE)
      multiply_some(least(TILE, width - i), 0, values + key * width + i, width, scores[0], some,
                    sums + i, key == begin, (Ahead){0});
  }
  float *out = job->out + ((start + query) * job->heads + head) * width;
  for (long lane = 0; lane < queries; lane++, out += job->heads * width)
    for (long i = 0; i < width; i++) out[i] = sums[i][lane] / total[lane];
}

static long units_of(const Attention *job, long text) {
  return parts(job->starts[text + 1] - job->starts[text], COLUMNS) * job->heads;
}

static void work(void *data) {
  Attention *job = data;
  for (long head; (head = take(&job->next_pack)) < job->texts * job->key_heads;)
    pack_head(job, head / job->key_heads, head % job->key_heads);
  wait_for_all();
  long text = 0, before = 0; /* units are taken in order, so texts pass by once */
  for (long unit; text < job->texts;) {
    unit = take(&job->next_unit);
    while (text < job->texts && unit - before >= units_of(job, text)) before += units_of(job, text++);
    if (text == job->texts) return;
    attend_unit(job, text, (unit - before) % job->heads, (unit - before) / job->heads * COLUMNS);
  }
}

/* `scratch` has room for all keys and values; the strides are numbers from one token to the next. */
void attention(const float *q, long q_stride, const float *k, long k_stride, const float *v,
               long v_stride, float *out, float *scratch, const int *starts, long texts, long heads,
               long key_heads, long head, long reach_back, long reach_on, float scale, long threads) {
  Attention job = {
      .q = q, .q_stride = q_stride, .k = k, .k_stride = k_stride, .v = v, .v_stride = v_stride,
      .out = out, .packed = scratch, .starts = starts, .texts = texts, .heads = heads,
      .key_heads = key_heads, .head = head, .reach_back = reach_back, .reach_on = reach_on,
      .scale = scale,
  };
  run(work, &job, starts[texts] * parts(starts[texts], texts) * heads * head, threads);
}
