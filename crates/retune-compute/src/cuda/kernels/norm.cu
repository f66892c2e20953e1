// RMS norm and layer norm: a block for each row.

#define EACH(i) for (size_t i = N * (size_t)threadIdx.x; i < width; i += N * (size_t)blockDim.x)

template <int N, class X, class Y>
__device__ void rms_forward(const X *x, const float *weight, float eps, Y *y, float *rstd, size_t width) {
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    EACH(i) {
        Pack<N> v;
        load(x + i, v);
        for (int k = 0; k < N; k++) squares += v.at[k] * v.at[k];
    }
    const float r = 1.0f / sqrtf(block_sum(squares) / (float)width + eps);
    EACH(i) {
        Pack<N> v, w;
        load(x + i, v);
        load(weight + i, w);
        for (int k = 0; k < N; k++) v.at[k] = v.at[k] * r * w.at[k];
        store(y + i, v);
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
}

template <int N, class X, class Y>
__device__ void layer_forward(const X *x, const float *weight, const float *bias, float eps, Y *y,
                              float *means, float *rstd, size_t width) {
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    float sum = 0.0f, squares = 0.0f;
    EACH(i) {
        Pack<N> v;
        load(x + i, v);
        for (int k = 0; k < N; k++) sum += v.at[k];
    }
    const float mean = block_sum(sum) / (float)width;
    EACH(i) {
        Pack<N> v;
        load(x + i, v);
        for (int k = 0; k < N; k++) squares += (v.at[k] - mean) * (v.at[k] - mean);
    }
    const float r = 1.0f / sqrtf(block_sum(squares) / (float)width + eps);
    EACH(i) {
        Pack<N> v, w, b;
        load(x + i, v);
        load(weight + i, w);
        load(bias + i, b);
        for (int k = 0; k < N; k++) v.at[k] = (v.at[k] - mean) * r * w.at[k] + b.at[k];
        store(y + i, v);
    }
    if (threadIdx.x == 0) {
        means[blockIdx.x] = mean;
        rstd[blockIdx.x] = r;
    }
}

// d_x += rstd · (d_n − [mean(d_n)] − n · mean(d_n · n)) with d_n = d_y · weight;
// `means` is absent for RMS norm.
template <int N, class D, class X>
__device__ void backward(const D *d_y, const X *x, const float *weight, const float *means,
                         const float *rstd, float *d_x, size_t width) {
    d_y += (size_t)blockIdx.x * width;
    x += (size_t)blockIdx.x * width;
    d_x += (size_t)blockIdx.x * width;
    const float r = rstd[blockIdx.x], mean = means ? means[blockIdx.x] : 0.0f;
    float dots = 0.0f, sums = 0.0f;
    EACH(i) {
        Pack<N> d, v, w;
        load(d_y + i, d);
        load(x + i, v);
        load(weight + i, w);
        for (int k = 0; k < N; k++) {
            const float d_n = d.at[k] * w.at[k];
            sums += d_n;
            dots += d_n * ((v.at[k] - mean) * r);
        }
    }
    const float dot = block_sum(dots) / (float)width;
    const float shift = means ? block_sum(sums) / (float)width : 0.0f;
    EACH(i) {
        Pack<N> d, v, w, out;
        load(d_y + i, d);
        load(x + i, v);
        load(weight + i, w);
        load(d_x + i, out);
        for (int k = 0; k < N; k++)
            out.at[k] += r * (d.at[k] * w.at[k] - shift - (v.at[k] - mean) * r * dot);
        store(d_x + i, out);
    }
}

// Sums over rows, a thread for each column, a chunk of rows for each blockIdx.y:
// partial[chunk][0] = Σ d_y · n, partial[chunk][1] = Σ d_y.
template <class D, class X>
__device__ void columns(const D *d_y, const X *x, const float *means, const float *rstd,
                        float *partial, size_t rows, size_t width, size_t chunk) {
    const size_t column = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    const size_t first = blockIdx.y * chunk;
    const size_t end = first + chunk < rows ? first + chunk : rows;
    float weight = 0.0f, bias = 0.0f;
    for (size_t row = first; row < end; row++) {
        const float d = widen(d_y[row * width + column]);
        const float mean = means ? means[row] : 0.0f;
        weight += d * ((widen(x[row * width + column]) - mean) * rstd[row]);
        bias += d;
    }
    partial[(size_t)blockIdx.y * 2 * width + column] = weight;
    partial[((size_t)blockIdx.y * 2 + 1) * width + column] = bias;
}

// Adds the chunks up in order; either gradient may be absent.
extern "C" __global__ void add_columns(const float *partial, float *d_weight, float *d_bias,
                                       size_t width, int chunks) {
    const size_t column = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float weight = 0.0f, bias = 0.0f;
    for (int chunk = 0; chunk < chunks; chunk++) {
        weight += partial[(size_t)chunk * 2 * width + column];
        bias += partial[((size_t)chunk * 2 + 1) * width + column];
    }
    if (d_weight) d_weight[column] += weight;
    if (d_bias) d_bias[column] += bias;
}

#define FORWARD(N, X, x, Y, y)                                                                     \
    extern "C" __global__ void rms_forward_##x##_##y##_##N(                                        \
        const X *in, const float *weight, float eps, Y *out, float *rstd, size_t width) {          \
        rms_forward<N>(in, weight, eps, out, rstd, width);                                         \
    }                                                                                              \
    extern "C" __global__ void layer_forward_##x##_##y##_##N(                                      \
        const X *in, const float *weight, const float *bias, float eps, Y *out, float *means,      \
        float *rstd, size_t width) {                                                               \
        layer_forward<N>(in, weight, bias, eps, out, means, rstd, width);                          \
    }
#define BACKWARD(N, D, d, X, x)                                                                    \
    extern "C" __global__ void backward_##d##_##x##_##N(                                           \
        const D *d_y, const X *in, const float *weight, const float *means, const float *rstd,     \
        float *d_x, size_t width) {                                                                \
        backward<N>(d_y, in, weight, means, rstd, d_x, width);                                     \
    }
#define COLUMNS(D, d, X, x)                                                                        \
    extern "C" __global__ void columns_##d##_##x(const D *d_y, const X *in, const float *means,    \
                                                 const float *rstd, float *partial, size_t rows,   \
                                                 size_t width, size_t chunk) {                     \
        columns(d_y, in, means, rstd, partial, rows, width, chunk);                                \
    }
#define ALL(N)                                                                                     \
    FORWARD(N, float, f32, float, f32)                                                             \
    FORWARD(N, float, f32, bf16, bf16)                                                             \
    FORWARD(N, bf16, bf16, float, f32)                                                             \
    FORWARD(N, bf16, bf16, bf16, bf16)                                                             \
    BACKWARD(N, float, f32, float, f32)                                                            \
    BACKWARD(N, float, f32, bf16, bf16)                                                            \
    BACKWARD(N, bf16, bf16, float, f32)                                                            \
    BACKWARD(N, bf16, bf16, bf16, bf16)
ALL(1)
ALL(4)
COLUMNS(float, f32, float, f32)
COLUMNS(float, f32, bf16, bf16)
COLUMNS(bf16, bf16, float, f32)
COLUMNS(bf16, bf16, bf16, bf16)
