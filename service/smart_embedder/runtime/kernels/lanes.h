/* A register of the processor as a vector of numbers, and the functions that torch has of them.

   All kernels are compiled once for AVX2 and once for AVX-512. What differs is how much a register holds and
   how bytes are multiplied (bytes.h). No sum's order depends on either, so neither do the numbers. */

#pragma once

#define INLINE inline __attribute__((always_inline))

/* -DLANES=16 compiles the wide code for a narrow processor, slowly, to test it there. */
#if !defined(LANES)
#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif
#endif

/* Rows whose sums fill the registers, beside two of weights and one of a row. */
enum { TILE = LANES == 16 ? 12 : 6 };

typedef float Lanes __attribute__((vector_size(LANES * 4)));
typedef float AnyLanes __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int Whole __attribute__((vector_size(LANES * 4)));

static INLINE Lanes all(float value) { return value - (Lanes){}; }
static INLINE Lanes load(const float *from) { return *(const AnyLanes *)from; }
static INLINE void store(float *to, Lanes value) { *(AnyLanes *)to = value; }
static INLINE Lanes choose(Whole which, Lanes yes, Lanes no) {
  return (Lanes)((which & (Whole)yes) | (~which & (Whole)no));
}
/* One instruction each; where either is not a number, the second. */
static INLINE Lanes larger(Lanes one, Lanes other) { return choose(one > other, one, other); }
static INLINE Lanes smaller(Lanes one, Lanes other) { return choose(one < other, one, other); }
static INLINE void fetch(const char *from) { __builtin_prefetch(from, 0, 2); }
static INLINE long least(long one, long other) { return one < other ? one : other; }
static INLINE long most(long one, long other) { return one > other ? one : other; }
static INLINE long parts(long whole, long part) { return (whole + part - 1) / part; }

/* erf as a quotient of polynomials, fitted to 2e-9 of its value up to 3.92, where fp32 calls it 1. */
static INLINE Lanes erf_of(Lanes x) {
  static const float over[] = {-1.27998062e-08f, 4.60923492e-06f, 3.76759069e-04f, 3.83862558e-03f,
                               5.42439945e-02f, 1.85135358e-01f, 1.12837917f};
  static const float under[] = {6.23991868e-05f, 1.30152565e-03f, 1.54300543e-02f,
                                1.13873791e-01f, 4.97405346e-01f, 1.0f};
  x = smaller(larger(x, all(-3.92f)), all(3.92f));
  Lanes square = x * x, above = all(over[0]), below = all(under[0]);
  for (int i = 1; i < 7; i++) above = above * square + over[i];
  for (int i = 1; i < 6; i++) below = below * square + under[i];
  return x * above / below;
}

static INLINE Lanes gelu(Lanes x) { return x * 0.5f * (1.0f + erf_of(x * 0.70710678f)); }

/* e to the power of numbers that are not above 0: a power of two times a polynomial (of Taylor's, good
   to 1e-8 within half a step). What is not a number stays none: only comparisons cut off. */
static INLINE Lanes exp_of(Lanes x) {
  static const float terms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  x = choose(x < -87.0f, all(-87.0f), x);
  Lanes steps = __builtin_elementwise_roundeven(x * 1.44269504f), sum = all(terms[0]);
  x = x - steps * 0.693359375f - steps * -2.12194440e-4f;  /* ln 2 in two parts, the first exact */
  for (int i = 1; i < 8; i++) sum = sum * x + terms[i];
  return sum * (Lanes)((__builtin_convertvector(steps, Whole) + 127) << 23);
}
