// Picking rows out of a tensor and putting them back.

// y[i] = x[rows[i]]; a block for each row.
template <int N, class X, class Y>
__device__ void gather(const X *x, const u32 *rows, Y *y, size_t width) {
    const X *from = x + (size_t)rows[blockIdx.x] * width;
    Y *to = y + (size_t)blockIdx.x * width;
    for (size_t i = N * (size_t)threadIdx.x; i < width; i += N * (size_t)blockDim.x) {
        Pack<N> v;
        load(from + i, v);
        store(to + i, v);
    }
}

// The rows of x that go to one row of y are sources[starts[b] .. starts[b + 1]],
// in order; a block for each such row, `targets[b]`. Added up, or the last one
// taken.
template <int N, class X, class Y>
__device__ void scatter(const X *x, const u32 *targets, const u32 *starts, const u32 *sources, Y *y,
                        size_t width, int accumulate) {
    const u32 first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    Y *to = y + (size_t)targets[blockIdx.x] * width;
    for (size_t i = N * (size_t)threadIdx.x; i < width; i += N * (size_t)blockDim.x) {
        Pack<N> sum, more;
        if (accumulate) load(to + i, sum);
        for (u32 s = accumulate ? first : end - 1; s < end; s++) {
            load(x + (size_t)sources[s] * width + i, more);
            for (int k = 0; k < N; k++) sum.at[k] = accumulate ? sum.at[k] + more.at[k] : more.at[k];
        }
        store(to + i, sum);
    }
}

#define GATHER(N, X, x, Y, y)                                                                      \
    extern "C" __global__ void gather_##x##_##y##_##N(const X *from, const u32 *rows, Y *to,       \
                                                      size_t width) {                              \
        gather<N>(from, rows, to, width);                                                          \
    }
#define SCATTER(N, X, x, Y, y)                                                                     \
    extern "C" __global__ void scatter_##x##_##y##_##N(const X *from, const u32 *targets,          \
                                                       const u32 *starts, const u32 *sources,      \
                                                       Y *to, size_t width, int accumulate) {      \
        scatter<N>(from, targets, starts, sources, to, width, accumulate);                         \
    }
#define BOTH(N)                                                                                    \
    GATHER(N, float, f32, float, f32)                                                              \
    GATHER(N, float, f32, bf16, bf16)                                                              \
    GATHER(N, bf16, bf16, float, f32)                                                              \
    GATHER(N, bf16, bf16, bf16, bf16)                                                              \
    SCATTER(N, float, f32, float, f32)                                                             \
    SCATTER(N, bf16, bf16, float, f32)                                                             \
    SCATTER(N, bf16, bf16, bf16, bf16)
BOTH(1)
BOTH(4)
