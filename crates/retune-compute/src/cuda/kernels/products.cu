// What surrounds the library's matrix products: the terms that an output
// starts from, products of a few rows, and products of any layout.

__device__ __forceinline__ float at(const void *from, size_t i, int is_bf16) {
    return is_bf16 ? widen(((const bf16 *)from)[i]) : ((const float *)from)[i];
}
__device__ __forceinline__ void put(void *to, size_t i, float value, int is_bf16) {
    if (is_bf16) ((bf16 *)to)[i] = narrow<bf16>(value);
    else ((float *)to)[i] = value;
}

// The terms of an output beside the product itself.
struct Terms {
    const void *u;            // [m, rank], or absent
    const void *b;            // rank × n, element (r, n) at r·b_rank + n·b_column
    const float *row_scales;  // [m], or absent
    const float *bias;        // [n], or absent
    u64 b_rank, b_column;
    int rank;
    float scale;
    int accumulate;
};

#define START_ROWS 16
#define START_RANKS 16
#define START_THREADS 128
#define START_COLUMNS (4 * START_THREADS)

// out = [out +] scale · u·b + bias, which the product is then added to. A
// thread has four neighbouring columns of START_ROWS rows.
template <class T, class O>
__device__ void start(O *out, size_t m, size_t n, const Terms &terms) {
    const size_t first_row = (size_t)blockIdx.x * START_ROWS;
    const size_t first_column = (size_t)blockIdx.y * START_COLUMNS;
    const size_t column = first_column + 4 * threadIdx.x;
    __shared__ float u[START_ROWS][START_RANKS];
    __shared__ __align__(16) float b[START_RANKS][START_COLUMNS];
    float sum[START_ROWS][4] = {};
    for (int base = 0; base < terms.rank; base += START_RANKS) {
        const int ranks = min(START_RANKS, terms.rank - base);
        __syncthreads();
        for (int i = threadIdx.x; i < START_ROWS * START_RANKS; i += START_THREADS) {
            const size_t row = first_row + i / START_RANKS;
            const int r = i % START_RANKS;
            u[i / START_RANKS][r] =
                row < m && r < ranks ? widen(((const T *)terms.u)[row * terms.rank + base + r]) : 0.0f;
        }
        // Neighbouring threads read neighbours, whichever way b lies.
        for (int i = threadIdx.x; i < ranks * START_COLUMNS; i += START_THREADS) {
            const int r = terms.b_rank == 1 ? i % ranks : i / START_COLUMNS;
            const int c = terms.b_rank == 1 ? i / ranks : i % START_COLUMNS;
            b[r][c] = first_column + c < n ? widen(((const T *)terms.b)[(base + r) * terms.b_rank +
                                                                        (first_column + c) * terms.b_column])
                                           : 0.0f;
        }
        __syncthreads();
        for (int r = 0; r < ranks; r++) {
            const float4 four = *(const float4 *)&b[r][4 * threadIdx.x];
#pragma unroll
            for (int row = 0; row < START_ROWS; row++) {
                const float factor = u[row][r];
                sum[row][0] += factor * four.x;
                sum[row][1] += factor * four.y;
                sum[row][2] += factor * four.z;
                sum[row][3] += factor * four.w;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < START_ROWS; i++) {
        const size_t row = first_row + i;
        if (row >= m) break;
        const float scale = terms.row_scales ? terms.row_scales[row] : terms.scale;
        O *to = out + row * n + column;
        Pack<4> v;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            v.at[k] = terms.rank ? scale * sum[i][k] : 0.0f;
            if (terms.bias && column + k < n) v.at[k] += terms.bias[column + k];
        }
        if (n % 4 == 0 && column < n) {
            if (terms.accumulate) {
                Pack<4> held;
                load(to, held);
                for (int k = 0; k < 4; k++) v.at[k] += held.at[k];
            }
            store(to, v);
        } else {
            for (int k = 0; k < 4; k++)
                if (column + k < n)
                    to[k] = narrow<O>(v.at[k] + (terms.accumulate ? widen(to[k]) : 0.0f));
        }
    }
}
#define START(T, t, O, o)                                                                          \
    extern "C" __global__ void start_##t##_##o(O *out, size_t m, size_t n, Terms terms) {          \
        start<T>(out, m, n, terms);                                                                \
    }
START(float, f32, float, f32)
START(float, f32, bf16, bf16)
START(bf16, bf16, float, f32)
START(bf16, bf16, bf16, bf16)

// Sixteen bytes of factors, as f32.
struct Piece {
    float at[8];
};
__device__ __forceinline__ void spread(uint4 v, const bf16 *, Piece &to) {
    const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to.at[2 * i] = __uint_as_float(words[i] << 16);
        to.at[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}
__device__ __forceinline__ void spread(uint4 v, const float *, Piece &to) {
    to.at[0] = __uint_as_float(v.x);
    to.at[1] = __uint_as_float(v.y);
    to.at[2] = __uint_as_float(v.z);
    to.at[3] = __uint_as_float(v.w);
}

#define COLUMNS 2

// out = [out +] scale · a·wᵀ + terms for up to M rows: bound by reading w, so
// each row of w is read once. A warp has COLUMNS columns, or with SPLIT a
// quarter of their k; sums have one order whatever the number of rows.
template <class T, int M, int SPLIT>
__device__ void few_rows(const T *a, const T *w, void *out, int m, size_t k, size_t n,
                         float scale, int out_bf16, const Terms &terms) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int in_piece = 16 / sizeof(T);
    const size_t pieces = k / in_piece;
    const size_t group = (size_t)blockIdx.x * (SPLIT ? 1 : blockDim.x / WARP) + (SPLIT ? 0 : warp);
    const size_t column = group * COLUMNS;
    float sum[M][COLUMNS] = {};
    if (column < n) {
        const uint4 *rows[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            rows[c] = (const uint4 *)(w + min(column + c, n - 1) * k);
        const size_t step = SPLIT ? blockDim.x : WARP;
#pragma unroll(M <= 2 ? 4 : 2)
        for (size_t piece = SPLIT ? threadIdx.x : lane; piece < pieces; piece += step) {
            Piece b[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) spread(__ldcs(rows[c] + piece), w, b[c]);
#pragma unroll
            for (int row = 0; row < M; row++) {
                Piece x;
                spread(__ldg((const uint4 *)(a + (size_t)min(row, m - 1) * k) + piece), a, x);
#pragma unroll
                for (int c = 0; c < COLUMNS; c++)
#pragma unroll
                    for (int i = 0; i < in_piece; i++) sum[row][c] += x.at[i] * b[c].at[i];
            }
        }
    }
#pragma unroll
    for (int row = 0; row < M; row++)
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) sum[row][c] = warp_sum(sum[row][c]);
    if (SPLIT) {
        __shared__ float shares[4][M][COLUMNS];
        if (lane == 0)
            for (int row = 0; row < M; row++)
                for (int c = 0; c < COLUMNS; c++) shares[warp][row][c] = sum[row][c];
        __syncthreads();
        if (warp != 0) return;
#pragma unroll
        for (int row = 0; row < M; row++)
#pragma unroll
            for (int c = 0; c < COLUMNS; c++)
                sum[row][c] = shares[0][row][c] + shares[1][row][c] + shares[2][row][c] + shares[3][row][c];
    }
    // One lane for each element of the output.
    const int row = lane / COLUMNS;
    const size_t own = column + lane % COLUMNS;
    float value = 0.0f;
#pragma unroll
    for (int i = 0; i < M * COLUMNS; i++)
        if (lane == i) value = scale * sum[i / COLUMNS][i % COLUMNS];
    if (row >= m || own >= n) return;
    if (terms.rank) {
        float low = 0.0f;
        for (int r = 0; r < terms.rank; r++)
            low += widen(((const T *)terms.u)[(size_t)row * terms.rank + r]) *
                   widen(((const T *)terms.b)[r * terms.b_rank + own * terms.b_column]);
        value += (terms.row_scales ? terms.row_scales[row] : terms.scale) * low;
    }
    if (terms.bias) value += terms.bias[own];
    const size_t i = (size_t)row * n + own;
    if (terms.accumulate) value += at(out, i, out_bf16);
    put(out, i, value, out_bf16);
}
#define FEW(T, t, M)                                                                               \
    extern "C" __global__ void __launch_bounds__(128) few_rows_##t##_##M(                          \
        const T *a, const T *w, void *out, int m, size_t k, size_t n, float scale, int out_bf16,   \
        Terms terms) {                                                                             \
        few_rows<T, M, 0>(a, w, out, m, k, n, scale, out_bf16, terms);                             \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(128) few_rows_split_##t##_##M(                    \
        const T *a, const T *w, void *out, int m, size_t k, size_t n, float scale, int out_bf16,   \
        Terms terms) {                                                                             \
        few_rows<T, M, 1>(a, w, out, m, k, n, scale, out_bf16, terms);                             \
    }
FEW(float, f32, 1)
FEW(float, f32, 2)
FEW(float, f32, 4)
FEW(float, f32, 8)
FEW(bf16, bf16, 1)
FEW(bf16, bf16, 2)
FEW(bf16, bf16, 4)
FEW(bf16, bf16, 8)

#define TILE 32

// out = scale · a·b [+ out] for factors that lie as they like: element (m, k)
// of a at m·a_row + k·a_k, (k, n) of b at k·b_k + n·b_column. For what the
// library has no kernel for; 32 × 8 threads.
extern "C" __global__ void any_layout(const void *a, const void *b, void *out, size_t m, size_t k,
                                      size_t n, u64 a_row, u64 a_k, u64 b_k, u64 b_column,
                                      float scale, int accumulate, int in_bf16, int out_bf16) {
    __shared__ float tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE;
    const size_t first_row = (size_t)blockIdx.y * TILE, first_column = (size_t)blockIdx.x * TILE;
    float sum[TILE / 8] = {};
    for (size_t base = 0; base < k; base += TILE) {
        __syncthreads();
        for (int i = y; i < TILE; i += 8) {
            const size_t row = first_row + i, column = first_column + x;
            tile_a[i][x] = row < m && base + x < k ? at(a, row * a_row + (base + x) * a_k, in_bf16) : 0.0f;
            tile_b[i][x] = base + i < k && column < n ? at(b, (base + i) * b_k + column * b_column, in_bf16) : 0.0f;
        }
        __syncthreads();
        const int most = k - base < TILE ? (int)(k - base) : TILE;
        for (int i = 0; i < most; i++)
#pragma unroll
            for (int r = 0; r < TILE / 8; r++) sum[r] += tile_a[y + 8 * r][i] * tile_b[i][x];
    }
#pragma unroll
    for (int r = 0; r < TILE / 8; r++) {
        const size_t row = first_row + y + 8 * r, column = first_column + x;
        if (row >= m || column >= n) continue;
        const size_t i = row * n + column;
        put(out, i, scale * sum[r] + (accumulate ? at(out, i, out_bf16) : 0.0f), out_bf16);
    }
}
