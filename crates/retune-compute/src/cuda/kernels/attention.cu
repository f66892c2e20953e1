// Attention in the manner of FlashAttention-2: Dao 2023, arXiv:2307.08691.
//
// The query heads that share a key/value head are stacked: packed row r of a
// sequence is its query r / group, head r % group of the group. A block of
// threads holds a tile of packed rows and streams tiles of keys past it, or
// the other way round for the gradients of keys and values. No two blocks
// write the same element, and every sum has one order.
//
// Tiles of keys are counted from the start of each span, and what a row does
// not see leaves its numbers as they are. So a row's result does not depend on
// the rows beside it, nor on how a sequence is cut into calls.
//
// HEAD_DIM is the head size, rounded up: to 16 for the tensor cores, to 32 for
// the plain kernels. Columns from `dim` on are zeros.

#ifndef HEAD_DIM
#error "HEAD_DIM is given on the command line"
#endif

#define THREADS 128
#define LOWEST (-__int_as_float(0x7f800000))
#define LAST_POSITION 0x7fffffff

// The tables that the host uploads.

// Queries are rows of q; `position` is that of the first one.
struct Sequence {
    int query, queries, position, span, spans;
};

// Consecutive rows of keys, and the position of the first one.
struct Span {
    int row, len, position;
};

// Packed rows of a sequence, from `first` on. Where keys are split, `chunk` is
// the chunk of keys and `partial` the place of the partial results; for
// merging, `chunk` is the number of chunks and `partial` the place of the
// first.
struct RowTile {
    int sequence, first, chunk, partial;
};

// Keys, and which sequences read them: readers[reader..end]. Where many do,
// several tiles of the same keys share them, and each has rows of its own for
// its part of the sums, from `partial` on; −1 where a tile has all readers.
struct ReadTile {
    int row, len, position, reader, end, partial;
};

// Keys whose sums are in parts, the rows of the parts one after the other from
// `first` on.
struct PartTile {
    int row, len, first, parts;
};

// Where the gradients of a tile's keys go.
struct KeySums {
    float *k, *v;
    int row;
    __device__ __forceinline__ KeySums(const ReadTile &tile, float *d_k, float *d_v, float *partial_k, float *partial_v)
        : k(tile.partial < 0 ? d_k : partial_k), v(tile.partial < 0 ? d_v : partial_v), row(tile.partial < 0 ? tile.row : tile.partial) {}
};

// A piece of a span; `len` 0 means that there is none.
struct KeyTile {
    int row, len, position;
};

// The sizes of a call. `window` is the number of keys that a query sees at
// most, 0 if it sees all of them.
struct Sizes {
    int heads, kv_heads, group, dim, window;
    __device__ __forceinline__ Sizes(int heads, int kv_heads, int dim, int window)
        : heads(heads), kv_heads(kv_heads), group(heads / kv_heads), dim(dim), window(window) {}
};

// The positions that a query sees, the last one included.
struct Visible {
    int first, last;
    __device__ __forceinline__ bool sees(int position) const {
        return position >= first && position <= last;
    }
};

__device__ __forceinline__ Visible visible(int position, int window) {
    if (window == 0) return Visible{0, LAST_POSITION};
    return Visible{max(0, position - (window - 1)), position};
}

// What a packed row of `sequence` sees; nothing if it is beyond the end.
__device__ __forceinline__ Visible row_visible(const Sequence &sequence, int row, const Sizes &sizes) {
    if (row >= sequence.queries * sizes.group) return Visible{1, 0};
    return visible(sequence.position + row / sizes.group, sizes.window);
}

// The index of a packed row's vector in a [T, H, D] tensor.
__device__ __forceinline__ size_t row_vector(const Sequence &sequence, int row, int kv_head, const Sizes &sizes) {
    const int query = row / sizes.group;
    const int head = kv_head * sizes.group + (row - query * sizes.group);
    return (size_t)(sequence.query + query) * sizes.heads + head;
}

// The tiles of a sequence's keys that some row of a tile sees, in order.
template <int KEYS> struct Keys {
    const Span *span, *end;
    int offset, last;

    __device__ __forceinline__ Keys(const Span *spans, const Sequence &sequence, Visible seen) {
        const Span *all = spans + sequence.span;
        int low = 0, high = sequence.spans;
        while (low < high) {
            const int middle = (low + high) / 2;
            if (all[middle].position + all[middle].len <= seen.first) low = middle + 1;
            else high = middle;
        }
        span = all + low;
        end = all + sequence.spans;
        last = seen.last;
        offset = span < end ? max(0, seen.first - span->position) / KEYS * KEYS : 0;
    }

    __device__ __forceinline__ KeyTile tile() const {
        if (span >= end || span->position + offset > last) return KeyTile{0, 0, 0};
        return KeyTile{span->row + offset, min(KEYS, span->len - offset), span->position + offset};
    }

    __device__ __forceinline__ void advance() {
        offset += KEYS;
        if (offset >= span->len) {
            span += 1;
            offset = 0;
        }
    }
};

// The tiles of packed rows that see some of a tile of keys, sequence after
// sequence.
template <int ROWS> struct Readers {
    const int *reader, *end;
    Sequence sequence;
    int row, stop;

    __device__ __forceinline__ Readers(const Sequence *sequences, const int *readers, const ReadTile &keys, const Sizes &sizes)
        : reader(readers + keys.reader), end(readers + keys.end), row(0), stop(0) {
        open(sequences, keys, sizes);
    }

    // The number of packed rows; 0 if there are no more.
    __device__ __forceinline__ int rows() const { return min(ROWS, stop - row); }

    __device__ __forceinline__ void advance(const Sequence *sequences, const ReadTile &keys, const Sizes &sizes) {
        row += ROWS;
        if (row >= stop) open(sequences, keys, sizes);
    }

    __device__ __forceinline__ void open(const Sequence *sequences, const ReadTile &keys, const Sizes &sizes) {
        row = stop = 0;
        while (reader < end) {
            sequence = sequences[*reader++];
            int first = 0, last = sequence.queries - 1;
            if (sizes.window != 0) {
                first = max(0, keys.position - sequence.position);
                const long long farthest = (long long)keys.position + keys.len - 1 + (sizes.window - 1);
                last = (int)min((long long)last, farthest - sequence.position);
            }
            if (first <= last) {
                row = first * sizes.group;
                stop = (last + 1) * sizes.group;
                return;
            }
        }
    }
};

#define PART_BLOCKS 32

// Adds up the parts of keys' gradients, in order; PART_BLOCKS blocks a tile.
// `width` is the length of all heads' keys together.
extern "C" __global__ void attention_add_parts(const float *partial_k, const float *partial_v, float *d_k, float *d_v, const PartTile *tiles, int width) {
    const PartTile tile = tiles[blockIdx.x / PART_BLOCKS];
    const int elements = tile.len * width;
    for (int i = blockIdx.x % PART_BLOCKS * blockDim.x + threadIdx.x; i < elements; i += PART_BLOCKS * blockDim.x) {
        float sum_k = 0.0f, sum_v = 0.0f;
        for (int part = 0; part < tile.parts; part++) {
            const size_t at = (size_t)tile.first * width + (size_t)part * elements + i;
            sum_k += partial_k[at];
            sum_v += partial_v[at];
        }
        d_k[(size_t)tile.row * width + i] = sum_k;
        d_v[(size_t)tile.row * width + i] = sum_v;
    }
}

// delta = Σ d_out · out of each query and head, one warp each. It is kept in
// the first element of the row of d_q: the gradients of keys and values read
// it there, and d_q itself, computed last, reads it before it is overwritten.
template <class T>
__device__ __forceinline__ void delta_rows(const T *out, const T *d_out, float *d_q, long long rows, int dim) {
    const long long row = (long long)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const size_t at = (size_t)row * dim;
    float sum = 0.0f;
    if (dim % 4 == 0) {
        for (int d = lane * 4; d < dim; d += WARP * 4) {
            Pack<4> x, y;
            load(out + at + d, x);
            load(d_out + at + d, y);
#pragma unroll
            for (int i = 0; i < 4; i++) sum = fmaf(x.at[i], y.at[i], sum);
        }
    } else {
        for (int d = lane; d < dim; d += WARP) sum = fmaf(widen(out[at + d]), widen(d_out[at + d]), sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) d_q[at] = sum;
}

extern "C" __global__ void attention_delta_f32(const float *out, const float *d_out, float *d_q, long long rows, int dim) { delta_rows(out, d_out, d_q, rows, dim); }
extern "C" __global__ void attention_delta_bf16(const bf16 *out, const bf16 *d_out, float *d_q, long long rows, int dim) { delta_rows(out, d_out, d_q, rows, dim); }

#if HEAD_DIM <= 128 && HEAD_DIM % 16 == 0

// Tensor cores: four warps of 16 packed rows (or keys) each.

#define TILE 64
#define CHUNK 256
// Rows in shared memory are an odd number of 16-byte pieces apart, so that the
// eight rows that ldmatrix reads at once lie in different banks.
#define PITCH ((HEAD_DIM + 8) * 2)
#define COLUMNS (HEAD_DIM / 8)
// Rows of the tiles that the backward pass streams, as registers allow.
#define STREAM (HEAD_DIM <= 64 ? 64 : 32)
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 16 bytes from global to shared memory, zeros if not `valid`.
__device__ __forceinline__ void copy_async(u32 to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most the newest group is on its way.
__device__ __forceinline__ void wait_for_older() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
__device__ __forceinline__ void wait_for_all() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

__device__ __forceinline__ void load_matrices(u32 (&to)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}
__device__ __forceinline__ void load_transposed(u32 (&to)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}
__device__ __forceinline__ void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The place in a tile that a lane names to ldmatrix: four 8x8 matrices, lane
// l naming row l % 8 of matrix l / 8.
// As the first factor, or as the second one transposed: the matrices are rows
// 0..8 and 8..16, then the same rows eight columns on.
__device__ __forceinline__ u32 lane_down() {
    const int lane = threadIdx.x % WARP;
    return (lane % 16) * PITCH + (lane / 16) * 16;
}
// As the second factor: rows 0..8, the same eight columns on, then rows 8..16.
__device__ __forceinline__ u32 lane_across() {
    const int lane = threadIdx.x % WARP;
    return (lane / 16 * 8 + lane % 8) * PITCH + (lane / 8 % 2) * 16;
}

// c = a · bᵀ of 16 rows of `a` and 8 N rows of `b`.
template <int N> __device__ __forceinline__ void product_of_rows(float (&c)[N][4], u32 a, u32 b) {
#pragma unroll
    for (int n = 0; n < N; n++) c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0f;
    a += lane_down();
    b += lane_across();
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; k++) {
        u32 x[4];
        load_matrices(x, a + k * 32);
#pragma unroll
        for (int n = 0; n < N / 2; n++) {
            u32 y[4];
            load_matrices(y, b + n * 16 * PITCH + k * 32);
            multiply(c[2 * n], x, y[0], y[1]);
            multiply(c[2 * n + 1], x, y[2], y[3]);
        }
    }
}

// c += a · b of 16 rows of `a`, in registers, and 16 K rows of `b`.
template <int K> __device__ __forceinline__ void add_product(float (&c)[COLUMNS][4], const u32 (&a)[K][4], u32 b) {
    b += lane_down();
#pragma unroll
    for (int k = 0; k < K; k++) {
#pragma unroll
        for (int n = 0; n < COLUMNS / 2; n++) {
            u32 y[4];
            load_transposed(y, b + k * 16 * PITCH + n * 32);
            multiply(c[2 * n], a[k], y[0], y[1]);
            multiply(c[2 * n + 1], a[k], y[2], y[3]);
        }
    }
}

// Sums as they come out of a product, rounded, as the first factor of the next.
template <int N> __device__ __forceinline__ void as_factor(u32 (&a)[N / 2][4], const float (&c)[N][4]) {
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        a[k][0] = narrow2(c[2 * k][0], c[2 * k][1]);
        a[k][1] = narrow2(c[2 * k][2], c[2 * k][3]);
        a[k][2] = narrow2(c[2 * k + 1][0], c[2 * k + 1][1]);
        a[k][3] = narrow2(c[2 * k + 1][2], c[2 * k + 1][3]);
    }
}

__device__ __forceinline__ void clear(float (&c)[COLUMNS][4]) {
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0f;
}

// Starts copying `len` rows of keys or values, zeros up to ROWS.
template <int ROWS> __device__ __forceinline__ void copy_keys(u32 to, const bf16 *from, int row, int len, int kv_head, const Sizes &sizes) {
#pragma unroll 2
    for (int start = 0; start < ROWS * COLUMNS; start += THREADS) {
        const int i = start + threadIdx.x;
        if (ROWS * COLUMNS % THREADS != 0 && i >= ROWS * COLUMNS) break;
        const int r = i / COLUMNS, column = i % COLUMNS * 8;
        const bool valid = r < len && column < sizes.dim;
        const size_t at = ((size_t)(row + r) * sizes.kv_heads + kv_head) * sizes.dim + column;
        copy_async(to + r * PITCH + column * 2, from + (valid ? at : 0), valid);
    }
}

// Starts copying the packed rows first..stop of up to two tensors, zeros up
// to ROWS.
template <int ROWS> __device__ __forceinline__ void copy_rows(u32 to, const bf16 *from, u32 to_other, const bf16 *other, const Sequence &sequence, int first, int stop, int kv_head, const Sizes &sizes) {
#pragma unroll 2
    for (int start = 0; start < ROWS * COLUMNS; start += THREADS) {
        const int i = start + threadIdx.x;
        if (ROWS * COLUMNS % THREADS != 0 && i >= ROWS * COLUMNS) break;
        const int r = i / COLUMNS, column = i % COLUMNS * 8;
        const bool valid = first + r < stop && column < sizes.dim;
        const size_t at = valid ? row_vector(sequence, first + r, kv_head, sizes) * sizes.dim + column : 0;
        copy_async(to + r * PITCH + column * 2, from + at, valid);
        if (other) copy_async(to_other + r * PITCH + column * 2, other + at, valid);
    }
}

__device__ __forceinline__ u32 shared_start() {
    extern __shared__ __align__(16) unsigned char shared[];
    return (u32)__cvta_generic_to_shared(shared);
}

// The largest and the sum over the four lanes that share a row.
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(FULL, x, 1);
    return x + __shfl_xor_sync(FULL, x, 2);
}

// What to subtract from scores; a row that has met no key has no maximum.
__device__ __forceinline__ float base_of(float max) { return max == LOWEST ? 0.0f : max; }

// A row's softmax so far: the maximum, in powers of two, and the sum.
struct Running {
    float max, sum;
};

// By how much a row's numbers so far, and those of its next chunk of keys,
// shrink when they are added. Merging with nothing changes no bit.
struct Merge {
    float mine, other;
    __device__ __forceinline__ Merge(Running &so_far, Running chunk) {
        const float max = fmaxf(so_far.max, chunk.max), base = base_of(max);
        mine = exp2_fast(so_far.max - base);
        other = exp2_fast(chunk.max - base);
        so_far.max = max;
        so_far.sum = add(so_far.sum, chunk.sum);
    }
    __device__ __forceinline__ float add(float so_far, float chunk) const {
        return fmaf(chunk, other, __fmul_rn(so_far, mine));
    }
};

// One tile of packed rows against its keys, or against one chunk of them.
//
// Every chunk of CHUNK keys begins anew and is then merged into the rows'
// totals. That costs little, and it makes the result the same to the bit
// whether the chunks are computed here one after the other or by one block
// each.
template <bool SPLIT>
__device__ __forceinline__ void forward_tile(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, float *logsumexp, float *partial, Running *partial_running, const Sequence *sequences, const Span *spans, const RowTile *tiles, const Sizes sizes, float scale) {
    const RowTile tile = tiles[blockIdx.x / sizes.kv_heads];
    const int kv_head = blockIdx.x % sizes.kv_heads;
    const Sequence sequence = sequences[tile.sequence];
    const int stop = min(tile.first + TILE, sequence.queries * sizes.group);
    const Visible at_first = row_visible(sequence, tile.first, sizes);
    const Visible at_last = row_visible(sequence, stop - 1, sizes);
    Visible seen{at_first.first, at_last.last};
    if (SPLIT) {
        seen.first = max(seen.first, tile.chunk * CHUNK);
        seen.last = min(seen.last, tile.chunk * CHUNK + (CHUNK - 1));
    }
    Keys<TILE> keys(spans, sequence, seen);
    KeyTile now = keys.tile();
    if (SPLIT) {
        // A tile that begins in the chunk before belongs there.
        while (now.len > 0 && now.position < tile.chunk * CHUNK) {
            keys.advance();
            now = keys.tile();
        }
    }

    const u32 queries = shared_start();
    const u32 buffers = queries + TILE * PITCH;
    copy_rows<TILE>(queries, q, 0, (const bf16 *)0, sequence, tile.first, stop, kv_head, sizes);
    copy_keys<TILE>(buffers, k, now.row, now.len, kv_head, sizes);
    copy_keys<TILE>(buffers + TILE * PITCH, v, now.row, now.len, kv_head, sizes);
    commit();

    const int warp_row = threadIdx.x / WARP * 16;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    // A warp without rows helps with the copies alone.
    const bool works = tile.first + warp_row < stop;
    const int rows[2] = {tile.first + warp_row + g, tile.first + warp_row + g + 8};
    const Visible sights[2] = {row_visible(sequence, rows[0], sizes), row_visible(sequence, rows[1], sizes)};

    float total[COLUMNS][4], sums[COLUMNS][4];
    clear(total);
    clear(sums);
    Running so_far[2] = {{LOWEST, 0.0f}, {LOWEST, 0.0f}}, chunk[2] = {{LOWEST, 0.0f}, {LOWEST, 0.0f}};
    int buffer = 0;
    while (now.len > 0) {
        keys.advance();
        const KeyTile next = keys.tile();
        if (next.len > 0) {
            const u32 to = buffers + (buffer ^ 1) * 2 * TILE * PITCH;
            copy_keys<TILE>(to, k, next.row, next.len, kv_head, sizes);
            copy_keys<TILE>(to + TILE * PITCH, v, next.row, next.len, kv_head, sizes);
        }
        commit();
        wait_for_older();
        __syncthreads();
        if (works) {
            const u32 from = buffers + buffer * 2 * TILE * PITCH;
            float scores[TILE / 8][4];
            product_of_rows(scores, queries + warp_row * PITCH, from);
            const int end = now.position + now.len - 1;
            if (now.len < TILE || now.position < at_last.first || end > at_first.last) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const int low = sights[h].first - now.position - t * 2;
                    const int high = min(sights[h].last, end) - now.position - t * 2;
#pragma unroll
                    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                        for (int e = 0; e < 2; e++) {
                            const int key = n * 8 + e;
                            if (key < low || key > high) scores[n][h * 2 + e] = LOWEST;
                        }
                    }
                }
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float max = LOWEST;
#pragma unroll
                for (int n = 0; n < TILE / 8; n++) max = fmaxf(max, fmaxf(scores[n][h * 2], scores[n][h * 2 + 1]));
                // The scale is positive, so the largest product is the
                // product with the largest.
                max = fmaxf(chunk[h].max, __fmul_rn(quad_max(max), scale));
                const float base = base_of(max);
                const float shrink = exp2_fast(chunk[h].max - base);
                chunk[h].max = max;
                float sum = 0.0f;
#pragma unroll
                for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const float p = exp2_fast(fmaf(scores[n][h * 2 + e], scale, -base));
                        scores[n][h * 2 + e] = p;
                        sum += p;
                    }
                }
                chunk[h].sum = fmaf(chunk[h].sum, shrink, sum);
#pragma unroll
                for (int n = 0; n < COLUMNS; n++) {
                    sums[n][h * 2] *= shrink;
                    sums[n][h * 2 + 1] *= shrink;
                }
            }
            u32 weights[TILE / 16][4];
            as_factor<TILE / 8>(weights, scores);
            add_product<TILE / 16>(sums, weights, from + TILE * PITCH);

            if (next.len == 0 || next.position / CHUNK != now.position / CHUNK) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    chunk[h].sum = quad_sum(chunk[h].sum);
                    const Merge merge(so_far[h], chunk[h]);
                    chunk[h] = Running{LOWEST, 0.0f};
#pragma unroll
                    for (int n = 0; n < COLUMNS; n++) {
                        total[n][h * 2] = merge.add(total[n][h * 2], sums[n][h * 2]);
                        total[n][h * 2 + 1] = merge.add(total[n][h * 2 + 1], sums[n][h * 2 + 1]);
                    }
                }
                clear(sums);
            }
        }
        __syncthreads();
        now = next;
        buffer ^= 1;
    }
    // A chunk may have no keys that its rows see.
    wait_for_all();

#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (rows[h] >= stop) continue;
        if (SPLIT) {
            const size_t at = (size_t)tile.partial + kv_head * (stop - tile.first) + (rows[h] - tile.first);
            if (t == 0) partial_running[at] = so_far[h];
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
                *(float2 *)(partial + at * HEAD_DIM + n * 8 + t * 2) = make_float2(total[n][h * 2], total[n][h * 2 + 1]);
        } else {
            const size_t at = row_vector(sequence, rows[h], kv_head, sizes);
            const float inverse = 1.0f / so_far[h].sum;
            if (logsumexp && t == 0) logsumexp[at] = (so_far[h].max + log2f(so_far[h].sum)) * LN2;
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
                if (n * 8 < sizes.dim)
                    *(u32 *)(out + at * sizes.dim + n * 8 + t * 2) = narrow2(__fmul_rn(total[n][h * 2], inverse), __fmul_rn(total[n][h * 2 + 1], inverse));
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 64 ? 3 : 2) attention_forward_mma(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, float *logsumexp, const Sequence *sequences, const Span *spans, const RowTile *tiles, int heads, int kv_heads, int dim, int window, float scale) {
    forward_tile<false>(q, k, v, out, logsumexp, 0, 0, sequences, spans, tiles, Sizes(heads, kv_heads, dim, window), scale * LOG2E);
}
extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 64 ? 3 : 2) attention_forward_split_mma(const bf16 *q, const bf16 *k, const bf16 *v, float *partial, Running *partial_running, const Sequence *sequences, const Span *spans, const RowTile *tiles, int heads, int kv_heads, int dim, int window, float scale) {
    forward_tile<true>(q, k, v, 0, 0, partial, partial_running, sequences, spans, tiles, Sizes(heads, kv_heads, dim, window), scale * LOG2E);
}

// Merges the chunks of each packed row in order, one warp a row.
extern "C" __global__ void __launch_bounds__(THREADS) attention_merge_mma(const float *partial, const Running *partial_running, bf16 *out, const Sequence *sequences, const RowTile *tiles, int heads, int kv_heads, int dim) {
    const Sizes sizes(heads, kv_heads, dim, 0);
    const int warps = THREADS / WARP, blocks = TILE / warps;
    const int kv_head = blockIdx.x / blocks % kv_heads;
    const RowTile tile = tiles[blockIdx.x / blocks / kv_heads];
    const Sequence sequence = sequences[tile.sequence];
    const int rows = min(TILE, sequence.queries * sizes.group - tile.first);
    const int row = blockIdx.x % blocks * warps + threadIdx.x / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const int each = (HEAD_DIM + WARP - 1) / WARP;
    float total[each];
#pragma unroll
    for (int i = 0; i < each; i++) total[i] = 0.0f;
    Running so_far{LOWEST, 0.0f};
#pragma unroll 4
    for (int c = 0; c < tile.chunk; c++) {
        const size_t at = (size_t)tile.partial + (size_t)(c * kv_heads + kv_head) * rows + row;
        const Merge merge(so_far, partial_running[at]);
#pragma unroll
        for (int i = 0; i < each; i++) {
            const int d = i * WARP + lane;
            if (d < HEAD_DIM) total[i] = merge.add(total[i], partial[at * HEAD_DIM + d]);
        }
    }
    const float inverse = 1.0f / so_far.sum;
    const size_t at = row_vector(sequence, tile.first + row, kv_head, sizes) * dim;
#pragma unroll
    for (int i = 0; i < each; i++) {
        const int d = i * WARP + lane;
        if (d < dim) out[at + d] = narrow<bf16>(__fmul_rn(total[i], inverse));
    }
}

// d_q of one tile of packed rows.
extern "C" __global__ void __launch_bounds__(THREADS, 3) attention_backward_q_mma(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out, const float *logsumexp, float *d_q, const Sequence *sequences, const Span *spans, const RowTile *tiles, int heads, int kv_heads, int dim, int window, float scale) {
    const Sizes sizes(heads, kv_heads, dim, window);
    const RowTile tile = tiles[blockIdx.x / kv_heads];
    const int kv_head = blockIdx.x % kv_heads;
    const Sequence sequence = sequences[tile.sequence];
    const int stop = min(tile.first + TILE, sequence.queries * sizes.group);
    const Visible at_first = row_visible(sequence, tile.first, sizes);
    const Visible at_last = row_visible(sequence, stop - 1, sizes);
    Keys<STREAM> keys(spans, sequence, Visible{at_first.first, at_last.last});
    KeyTile now = keys.tile();

    const u32 queries = shared_start();
    const u32 gradients = queries + TILE * PITCH;
    const u32 buffers = gradients + TILE * PITCH;
    copy_rows<TILE>(queries, q, gradients, d_out, sequence, tile.first, stop, kv_head, sizes);
    copy_keys<STREAM>(buffers, k, now.row, now.len, kv_head, sizes);
    copy_keys<STREAM>(buffers + STREAM * PITCH, v, now.row, now.len, kv_head, sizes);
    commit();

    const int warp_row = threadIdx.x / WARP * 16;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const bool works = tile.first + warp_row < stop;
    const int rows[2] = {tile.first + warp_row + g, tile.first + warp_row + g + 8};
    const Visible sights[2] = {row_visible(sequence, rows[0], sizes), row_visible(sequence, rows[1], sizes)};
    float row_logsumexp[2] = {0.0f, 0.0f}, row_delta[2] = {0.0f, 0.0f};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (rows[h] >= stop) continue;
        const size_t at = row_vector(sequence, rows[h], kv_head, sizes);
        row_logsumexp[h] = logsumexp[at] * LOG2E;
        row_delta[h] = d_q[at * dim];
    }

    float sums[COLUMNS][4];
    clear(sums);
    const float scale2 = scale * LOG2E;
    int buffer = 0;
    while (now.len > 0) {
        keys.advance();
        const KeyTile next = keys.tile();
        if (next.len > 0) {
            const u32 to = buffers + (buffer ^ 1) * 2 * STREAM * PITCH;
            copy_keys<STREAM>(to, k, next.row, next.len, kv_head, sizes);
            copy_keys<STREAM>(to + STREAM * PITCH, v, next.row, next.len, kv_head, sizes);
        }
        commit();
        wait_for_older();
        __syncthreads();
        if (works) {
            const u32 from = buffers + buffer * 2 * STREAM * PITCH;
            float p[STREAM / 8][4], d_p[STREAM / 8][4];
            product_of_rows(p, queries + warp_row * PITCH, from);
            product_of_rows(d_p, gradients + warp_row * PITCH, from + STREAM * PITCH);
            const int end = now.position + now.len - 1;
            const bool masked = now.len < STREAM || now.position < at_last.first || end > at_first.last;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int low = sights[h].first - now.position - t * 2;
                const int high = min(sights[h].last, end) - now.position - t * 2;
#pragma unroll
                for (int n = 0; n < STREAM / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const int i = h * 2 + e, key = n * 8 + e;
                        float x = exp2_fast(fmaf(p[n][i], scale2, -row_logsumexp[h]));
                        if (masked && (key < low || key > high)) x = 0.0f;
                        p[n][i] = x * (d_p[n][i] - row_delta[h]);
                    }
                }
            }
            u32 d_scores[STREAM / 16][4];
            as_factor<STREAM / 8>(d_scores, p);
            add_product<STREAM / 16>(sums, d_scores, from);
        }
        __syncthreads();
        now = next;
        buffer ^= 1;
    }

#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (rows[h] >= stop) continue;
        float *to = d_q + row_vector(sequence, rows[h], kv_head, sizes) * dim;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++)
            if (n * 8 < dim) *(float2 *)(to + n * 8 + t * 2) = make_float2(sums[n][h * 2] * scale, sums[n][h * 2 + 1] * scale);
    }
}

// What the gradients of keys and values need of a packed row.
struct alignas(16) RowFacts {
    float logsumexp, delta;
    Visible sight;
};

// d_k and d_v of one tile of keys. Scores stand transposed, keys by rows.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_backward_kv_mma(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out, const float *logsumexp, const float *d_q, float *d_k, float *d_v, float *partial_k, float *partial_v, const Sequence *sequences, const int *readers, const ReadTile *tiles, int heads, int kv_heads, int dim, int window, float scale) {
    const Sizes sizes(heads, kv_heads, dim, window);
    const ReadTile tile = tiles[blockIdx.x / kv_heads];
    const int kv_head = blockIdx.x % kv_heads;
    const int end = tile.position + tile.len - 1;
    Readers<STREAM> reading(sequences, readers, tile, sizes);

    __shared__ RowFacts facts[2][STREAM];
    const u32 keys = shared_start();
    const u32 values = keys + TILE * PITCH;
    const u32 buffers = values + TILE * PITCH;
    copy_keys<TILE>(keys, k, tile.row, tile.len, kv_head, sizes);
    copy_keys<TILE>(values, v, tile.row, tile.len, kv_head, sizes);

    // Starts copying the rows that `reading` is at. What it reads through
    // registers is in place after the next barrier.
    const auto fetch = [&](int buffer) {
        const u32 to = buffers + buffer * 2 * STREAM * PITCH;
        const Sequence &sequence = reading.sequence;
        copy_rows<STREAM>(to, q, to + STREAM * PITCH, d_out, sequence, reading.row, reading.stop, kv_head, sizes);
        if (threadIdx.x < STREAM) {
            const int row = reading.row + threadIdx.x;
            RowFacts fact{0.0f, 0.0f, Visible{1, 0}};
            if (row < reading.stop) {
                const size_t at = row_vector(sequence, row, kv_head, sizes);
                fact.logsumexp = logsumexp[at] * LOG2E;
                fact.delta = d_q[at * dim];
                fact.sight = row_visible(sequence, row, sizes);
            }
            facts[buffer][threadIdx.x] = fact;
        }
    };
    int rows = reading.rows();
    if (rows > 0) fetch(0);
    commit();

    const int warp_key = threadIdx.x / WARP * 16;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const bool works = warp_key < tile.len;
    const float scale2 = scale * LOG2E;
    float sums_k[COLUMNS][4], sums_v[COLUMNS][4];
    clear(sums_k);
    clear(sums_v);
    int buffer = 0;
    while (rows > 0) {
        reading.advance(sequences, tile, sizes);
        const int next = reading.rows();
        if (next > 0) fetch(buffer ^ 1);
        commit();
        wait_for_older();
        __syncthreads();
        if (works) {
            const u32 from = buffers + buffer * 2 * STREAM * PITCH;
            const RowFacts *fact = facts[buffer];
            float p[STREAM / 8][4];
            product_of_rows(p, keys + warp_key * PITCH, from);
            const bool masked = tile.len < TILE || rows < STREAM || end > fact[0].sight.last || tile.position < fact[rows - 1].sight.first;
#pragma unroll
            for (int n = 0; n < STREAM / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const RowFacts row = fact[n * 8 + t * 2 + e];
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const int key = warp_key + g + h * 8;
                        float x = exp2_fast(fmaf(p[n][h * 2 + e], scale2, -row.logsumexp));
                        if (masked && !(key < tile.len && row.sight.sees(tile.position + key))) x = 0.0f;
                        p[n][h * 2 + e] = x;
                    }
                }
            }
            u32 weights[STREAM / 16][4];
            as_factor<STREAM / 8>(weights, p);
            add_product<STREAM / 16>(sums_v, weights, from + STREAM * PITCH);
            float d_p[STREAM / 8][4];
            product_of_rows(d_p, values + warp_key * PITCH, from + STREAM * PITCH);
#pragma unroll
            for (int n = 0; n < STREAM / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float row_delta = fact[n * 8 + t * 2 + e].delta;
#pragma unroll
                    for (int h = 0; h < 2; h++) p[n][h * 2 + e] *= d_p[n][h * 2 + e] - row_delta;
                }
            }
            as_factor<STREAM / 8>(weights, p);
            add_product<STREAM / 16>(sums_k, weights, from);
        }
        __syncthreads();
        rows = next;
        buffer ^= 1;
    }

    const KeySums to(tile, d_k, d_v, partial_k, partial_v);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int key = warp_key + g + h * 8;
        if (key >= tile.len) continue;
        const size_t at = ((size_t)(to.row + key) * kv_heads + kv_head) * dim;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++) {
            if (n * 8 >= dim) continue;
            *(float2 *)(to.k + at + n * 8 + t * 2) = make_float2(sums_k[n][h * 2] * scale, sums_k[n][h * 2 + 1] * scale);
            *(float2 *)(to.v + at + n * 8 + t * 2) = make_float2(sums_v[n][h * 2], sums_v[n][h * 2 + 1]);
        }
    }
}

#endif

#if HEAD_DIM % 32 == 0

// Plain arithmetic in f32, for what the tensor cores do not take. Four warps
// hold four rows each; lane j computes the scores of row j of the streamed
// tile. A branch passes over what is not seen, so that an infinity or NaN
// there has no effect.

#define HELD 16
#define HELD_BY_WARP 4
#define STREAMED 32
// Rows of the streamed tiles are apart so that lanes that read one row each
// find 16 bytes in different banks.
#define APART (HEAD_DIM + 4)
#define EACH (HEAD_DIM / WARP)

// Copies `len` vectors into rows of `pitch` floats, zeros beyond `dim` and up
// to `count` rows. `vector` gives the index of each row's vector.
template <class T, class F> __device__ __forceinline__ void copy_plain(float *to, int pitch, int count, int len, const T *from, int dim, F vector) {
    for (int r = threadIdx.x / WARP; r < count; r += THREADS / WARP) {
        const T *row = r < len ? from + vector(r) * dim : from;
        for (int d = threadIdx.x % WARP; d < HEAD_DIM; d += WARP) to[r * pitch + d] = r < len && d < dim ? widen(row[d]) : 0.0f;
    }
}

// dots[r] = held row r · the lane's streamed row.
__device__ __forceinline__ void dot_rows(float (&dots)[HELD_BY_WARP], const float *held, const float *streamed) {
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) dots[r] = 0.0f;
#pragma unroll 4
    for (int d = 0; d < HEAD_DIM; d += 4) {
        const float4 y = *(const float4 *)(streamed + d);
#pragma unroll
        for (int r = 0; r < HELD_BY_WARP; r++) {
            const float4 x = *(const float4 *)(held + r * HEAD_DIM + d);
            dots[r] = fmaf(x.x, y.x, dots[r]);
            dots[r] = fmaf(x.y, y.y, dots[r]);
            dots[r] = fmaf(x.z, y.z, dots[r]);
            dots[r] = fmaf(x.w, y.w, dots[r]);
        }
    }
}

// sums[r] += Σ_j weights[r] of lane j · streamed row j, over the lanes in
// seen[r].
__device__ __forceinline__ void add_rows(float (&sums)[HELD_BY_WARP][EACH], const float (&weights)[HELD_BY_WARP], const u32 (&seen)[HELD_BY_WARP], const float *streamed) {
    u32 left = 0;
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) left |= seen[r];
    while (left != 0) {
        const int j = __ffs(left) - 1;
        left &= left - 1;
        float x[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) x[i] = streamed[j * APART + i * WARP + threadIdx.x % WARP];
#pragma unroll
        for (int r = 0; r < HELD_BY_WARP; r++) {
            if (seen[r] >> j & 1) {
                const float weight = __shfl_sync(FULL, weights[r], j);
#pragma unroll
                for (int i = 0; i < EACH; i++) sums[r][i] = fmaf(weight, x[i], sums[r][i]);
            }
        }
    }
}

__device__ __forceinline__ float *plain_shared() {
    extern __shared__ __align__(16) unsigned char shared[];
    return (float *)shared;
}

template <class T>
__device__ __forceinline__ void plain_forward(const T *q, const T *k, const T *v, T *out, float *logsumexp, const Sequence *sequences, const Span *spans, const RowTile *tiles, const Sizes sizes, float scale) {
    const RowTile tile = tiles[blockIdx.x / sizes.kv_heads];
    const int kv_head = blockIdx.x % sizes.kv_heads;
    const Sequence sequence = sequences[tile.sequence];
    const int stop = min(tile.first + HELD, sequence.queries * sizes.group);
    const Visible seen{row_visible(sequence, tile.first, sizes).first, row_visible(sequence, stop - 1, sizes).last};

    float *queries = plain_shared(), *keys = queries + HELD * HEAD_DIM, *values = keys + STREAMED * APART;
    copy_plain(queries, HEAD_DIM, HELD, stop - tile.first, q, sizes.dim, [&](int r) { return row_vector(sequence, tile.first + r, kv_head, sizes); });

    const int lane = threadIdx.x % WARP;
    const int held = threadIdx.x / WARP * HELD_BY_WARP, first = tile.first + held;
    float sums[HELD_BY_WARP][EACH], max[HELD_BY_WARP], sum[HELD_BY_WARP];
    Visible sights[HELD_BY_WARP];
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
        sights[r] = row_visible(sequence, first + r, sizes);
        max[r] = LOWEST;
        sum[r] = 0.0f;
#pragma unroll
        for (int i = 0; i < EACH; i++) sums[r][i] = 0.0f;
    }
    Keys<STREAMED> streamed(spans, sequence, seen);
    for (KeyTile now = streamed.tile(); now.len > 0; now = streamed.tile()) {
        const auto vector = [&](int r) { return (size_t)(now.row + r) * sizes.kv_heads + kv_head; };
        __syncthreads();
        copy_plain(keys, APART, STREAMED, now.len, k, sizes.dim, vector);
        copy_plain(values, APART, STREAMED, now.len, v, sizes.dim, vector);
        __syncthreads();
        float weights[HELD_BY_WARP];
        u32 visible_keys[HELD_BY_WARP];
        dot_rows(weights, queries + held * HEAD_DIM, keys + lane * APART);
#pragma unroll
        for (int r = 0; r < HELD_BY_WARP; r++) {
            const bool sees = lane < now.len && sights[r].sees(now.position + lane);
            visible_keys[r] = __ballot_sync(FULL, sees);
            if (visible_keys[r] == 0) continue;
            const float score = sees ? __fmul_rn(weights[r], scale) : LOWEST;
            const float highest = fmaxf(max[r], warp_max(score));
            const float base = highest == LOWEST ? 0.0f : highest;
            const float shrink = expf(max[r] - base);
            weights[r] = sees ? expf(score - base) : 0.0f;
            max[r] = highest;
            sum[r] = fmaf(sum[r], shrink, warp_sum(weights[r]));
#pragma unroll
            for (int i = 0; i < EACH; i++) sums[r][i] *= shrink;
        }
        add_rows(sums, weights, visible_keys, values);
        streamed.advance();
    }
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
        if (first + r >= stop) continue;
        const size_t at = row_vector(sequence, first + r, kv_head, sizes);
        if (logsumexp && lane == 0) logsumexp[at] = max[r] + logf(sum[r]);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int d = i * WARP + lane;
            if (d < sizes.dim) out[at * sizes.dim + d] = narrow<T>(sums[r][i] / sum[r]);
        }
    }
}

template <class T>
__device__ __forceinline__ void plain_backward_q(const T *q, const T *k, const T *v, const T *d_out, const float *logsumexp, float *d_q, const Sequence *sequences, const Span *spans, const RowTile *tiles, const Sizes sizes, float scale) {
    const RowTile tile = tiles[blockIdx.x / sizes.kv_heads];
    const int kv_head = blockIdx.x % sizes.kv_heads;
    const Sequence sequence = sequences[tile.sequence];
    const int stop = min(tile.first + HELD, sequence.queries * sizes.group);
    const Visible seen{row_visible(sequence, tile.first, sizes).first, row_visible(sequence, stop - 1, sizes).last};

    float *queries = plain_shared(), *gradients = queries + HELD * HEAD_DIM;
    float *keys = gradients + HELD * HEAD_DIM, *values = keys + STREAMED * APART;
    const auto row_at = [&](int r) { return row_vector(sequence, tile.first + r, kv_head, sizes); };
    copy_plain(queries, HEAD_DIM, HELD, stop - tile.first, q, sizes.dim, row_at);
    copy_plain(gradients, HEAD_DIM, HELD, stop - tile.first, d_out, sizes.dim, row_at);

    const int lane = threadIdx.x % WARP;
    const int held = threadIdx.x / WARP * HELD_BY_WARP, first = tile.first + held;
    float sums[HELD_BY_WARP][EACH], row_logsumexp[HELD_BY_WARP], row_delta[HELD_BY_WARP];
    Visible sights[HELD_BY_WARP];
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
        sights[r] = row_visible(sequence, first + r, sizes);
        const bool valid = first + r < stop;
        const size_t at = valid ? row_vector(sequence, first + r, kv_head, sizes) : 0;
        row_logsumexp[r] = valid ? logsumexp[at] : 0.0f;
        row_delta[r] = valid ? d_q[at * sizes.dim] : 0.0f;
#pragma unroll
        for (int i = 0; i < EACH; i++) sums[r][i] = 0.0f;
    }
    Keys<STREAMED> streamed(spans, sequence, seen);
    for (KeyTile now = streamed.tile(); now.len > 0; now = streamed.tile()) {
        const auto vector = [&](int r) { return (size_t)(now.row + r) * sizes.kv_heads + kv_head; };
        __syncthreads();
        copy_plain(keys, APART, STREAMED, now.len, k, sizes.dim, vector);
        copy_plain(values, APART, STREAMED, now.len, v, sizes.dim, vector);
        __syncthreads();
        float scores[HELD_BY_WARP], d_weights[HELD_BY_WARP];
        u32 visible_keys[HELD_BY_WARP];
        dot_rows(scores, queries + held * HEAD_DIM, keys + lane * APART);
        dot_rows(d_weights, gradients + held * HEAD_DIM, values + lane * APART);
#pragma unroll
        for (int r = 0; r < HELD_BY_WARP; r++) {
            visible_keys[r] = __ballot_sync(FULL, lane < now.len && sights[r].sees(now.position + lane));
            const float weight = expf(__fmul_rn(scores[r], scale) - row_logsumexp[r]);
            scores[r] = scale * weight * (d_weights[r] - row_delta[r]);
        }
        add_rows(sums, scores, visible_keys, keys);
        streamed.advance();
    }
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
        if (first + r >= stop) continue;
        const size_t at = row_vector(sequence, first + r, kv_head, sizes) * sizes.dim;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int d = i * WARP + lane;
            if (d < sizes.dim) d_q[at + d] = sums[r][i];
        }
    }
}

template <class T>
__device__ __forceinline__ void plain_backward_kv(const T *q, const T *k, const T *v, const T *d_out, const float *logsumexp, const float *d_q, float *d_k, float *d_v, float *partial_k, float *partial_v, const Sequence *sequences, const int *readers, const ReadTile *tiles, const Sizes sizes, float scale) {
    const ReadTile tile = tiles[blockIdx.x / sizes.kv_heads];
    const int kv_head = blockIdx.x % sizes.kv_heads;

    float *keys = plain_shared(), *values = keys + HELD * HEAD_DIM;
    float *queries = values + HELD * HEAD_DIM, *gradients = queries + STREAMED * APART;
    const auto key_at = [&](int r) { return (size_t)(tile.row + r) * sizes.kv_heads + kv_head; };
    copy_plain(keys, HEAD_DIM, HELD, tile.len, k, sizes.dim, key_at);
    copy_plain(values, HEAD_DIM, HELD, tile.len, v, sizes.dim, key_at);

    const int lane = threadIdx.x % WARP;
    const int held = threadIdx.x / WARP * HELD_BY_WARP;
    float sums_k[HELD_BY_WARP][EACH], sums_v[HELD_BY_WARP][EACH];
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
#pragma unroll
        for (int i = 0; i < EACH; i++) sums_k[r][i] = sums_v[r][i] = 0.0f;
    }
    Readers<STREAMED> reading(sequences, readers, tile, sizes);
    for (int rows = reading.rows(); rows > 0; rows = reading.rows()) {
        const Sequence sequence = reading.sequence;
        const auto row_at = [&](int r) { return row_vector(sequence, reading.row + r, kv_head, sizes); };
        __syncthreads();
        copy_plain(queries, APART, STREAMED, rows, q, sizes.dim, row_at);
        copy_plain(gradients, APART, STREAMED, rows, d_out, sizes.dim, row_at);
        __syncthreads();
        const int row = reading.row + lane;
        const bool valid = lane < rows;
        const Visible sight = valid ? row_visible(sequence, row, sizes) : Visible{1, 0};
        const size_t at = valid ? row_vector(sequence, row, kv_head, sizes) : 0;
        const float row_logsumexp = valid ? logsumexp[at] : 0.0f;
        const float row_delta = valid ? d_q[at * sizes.dim] : 0.0f;
        float scores[HELD_BY_WARP], d_weights[HELD_BY_WARP];
        u32 visible_rows[HELD_BY_WARP];
        dot_rows(scores, keys + held * HEAD_DIM, queries + lane * APART);
        dot_rows(d_weights, values + held * HEAD_DIM, gradients + lane * APART);
#pragma unroll
        for (int r = 0; r < HELD_BY_WARP; r++) {
            visible_rows[r] = __ballot_sync(FULL, held + r < tile.len && sight.sees(tile.position + held + r));
            const float weight = expf(__fmul_rn(scores[r], scale) - row_logsumexp);
            scores[r] = weight;
            d_weights[r] = scale * weight * (d_weights[r] - row_delta);
        }
        add_rows(sums_v, scores, visible_rows, gradients);
        add_rows(sums_k, d_weights, visible_rows, queries);
        reading.advance(sequences, tile, sizes);
    }
    const KeySums to(tile, d_k, d_v, partial_k, partial_v);
#pragma unroll
    for (int r = 0; r < HELD_BY_WARP; r++) {
        if (held + r >= tile.len) continue;
        const size_t at = ((size_t)(to.row + held + r) * sizes.kv_heads + kv_head) * sizes.dim;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int d = i * WARP + lane;
            if (d < sizes.dim) {
                to.k[at + d] = sums_k[r][i];
                to.v[at + d] = sums_v[r][i];
            }
        }
    }
}

#define PLAIN_KERNELS(NAME, T) \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_forward_##NAME(const T *q, const T *k, const T *v, T *out, float *logsumexp, const Sequence *sequences, const Span *spans, const RowTile *tiles, int heads, int kv_heads, int dim, int window, float scale) { \
        plain_forward(q, k, v, out, logsumexp, sequences, spans, tiles, Sizes(heads, kv_heads, dim, window), scale); \
    } \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_backward_q_##NAME(const T *q, const T *k, const T *v, const T *d_out, const float *logsumexp, float *d_q, const Sequence *sequences, const Span *spans, const RowTile *tiles, int heads, int kv_heads, int dim, int window, float scale) { \
        plain_backward_q(q, k, v, d_out, logsumexp, d_q, sequences, spans, tiles, Sizes(heads, kv_heads, dim, window), scale); \
    } \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_backward_kv_##NAME(const T *q, const T *k, const T *v, const T *d_out, const float *logsumexp, const float *d_q, float *d_k, float *d_v, float *partial_k, float *partial_v, const Sequence *sequences, const int *readers, const ReadTile *tiles, int heads, int kv_heads, int dim, int window, float scale) { \
        plain_backward_kv(q, k, v, d_out, logsumexp, d_q, d_k, d_v, partial_k, partial_v, sequences, readers, tiles, Sizes(heads, kv_heads, dim, window), scale); \
    }

PLAIN_KERNELS(f32, float)
PLAIN_KERNELS(bf16, bf16)

#endif
