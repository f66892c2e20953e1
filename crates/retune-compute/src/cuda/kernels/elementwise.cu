// Element-wise arithmetic and reductions. Tensors are flat here; a thread
// takes four neighbours at a time.

template <class T>
__device__ __forceinline__ Pack<4> read4(const T *from, size_t i, size_t n) {
    Pack<4> v;
    if (i + 4 <= n) {
        load(from + i, v);
    } else {
#pragma unroll
        for (int k = 0; k < 4; k++) v.at[k] = i + k < n ? widen(from[i + k]) : 0.0f;
    }
    return v;
}

template <class T>
__device__ __forceinline__ void write4(T *to, size_t i, size_t n, const Pack<4> &v) {
    if (i + 4 <= n) {
        store(to + i, v);
    } else {
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (i + k < n) to[i + k] = narrow<T>(v.at[k]);
    }
}

#define EACH_FOUR(i, n)                                                        \
    for (size_t i = 4 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x); i < n; \
         i += 4 * (size_t)gridDim.x * blockDim.x)

template <class X> __device__ void add_assign(float *y, const X *x, size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> sum = read4(y, i, n), more = read4(x, i, n);
        for (int k = 0; k < 4; k++) sum.at[k] += more.at[k];
        write4(y, i, n, sum);
    }
}
extern "C" __global__ void add_assign_f32(float *y, const float *x, size_t n) { add_assign(y, x, n); }
extern "C" __global__ void add_assign_bf16(float *y, const bf16 *x, size_t n) { add_assign(y, x, n); }

template <class X> __device__ void scale(X *x, float factor, size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> v = read4(x, i, n);
        for (int k = 0; k < 4; k++) v.at[k] *= factor;
        write4(x, i, n, v);
    }
}
extern "C" __global__ void scale_f32(float *x, float factor, size_t n) { scale(x, factor, n); }
extern "C" __global__ void scale_bf16(bf16 *x, float factor, size_t n) { scale(x, factor, n); }

template <class X, class Y> __device__ void cast(const X *x, Y *y, size_t n) {
    EACH_FOUR(i, n) write4(y, i, n, read4(x, i, n));
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <class X, class Y>
__device__ void swiglu_forward(const X *gate, const X *up, Y *y, size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> g = read4(gate, i, n), u = read4(up, i, n);
        for (int k = 0; k < 4; k++) g.at[k] = g.at[k] * sigmoid(g.at[k]) * u.at[k];
        write4(y, i, n, g);
    }
}

// silu'(x) = s + x·s·(1 − s) with s = sigmoid(x).
template <class D, class X, class Y>
__device__ void swiglu_backward(const D *d_y, const X *gate, const X *up, Y *d_gate, Y *d_up,
                                size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> d = read4(d_y, i, n), g = read4(gate, i, n), u = read4(up, i, n), dg, du;
        for (int k = 0; k < 4; k++) {
            const float s = sigmoid(g.at[k]);
            dg.at[k] = d.at[k] * u.at[k] * (s + g.at[k] * s * (1.0f - s));
            du.at[k] = d.at[k] * g.at[k] * s;
        }
        write4(d_gate, i, n, dg);
        write4(d_up, i, n, du);
    }
}

#define ROOT_HALF 0.70710678118654752f
#define ROOT_TWO_OVER_PI 0.79788456080286536f
#define TANH_CUBE 0.044715f

__device__ __forceinline__ float gelu(float x, int tanh_form) {
    if (tanh_form) return 0.5f * x * (1.0f + tanhf(ROOT_TWO_OVER_PI * (x + TANH_CUBE * x * x * x)));
    return 0.5f * x * erfcf(-x * ROOT_HALF);
}

__device__ __forceinline__ float gelu_slope(float x, int tanh_form) {
    if (tanh_form) {
        const float t = tanhf(ROOT_TWO_OVER_PI * (x + TANH_CUBE * x * x * x));
        const float slope = 1.0f - t * t;
        const float inner = ROOT_TWO_OVER_PI * (1.0f + 3.0f * TANH_CUBE * x * x);
        // Far out the slope is zero, whatever the inner one has grown to.
        return 0.5f * (1.0f + t) + (slope == 0.0f ? 0.0f : 0.5f * x * slope * inner);
    }
    const float density = expf(-0.5f * x * x) * 0.39894228040143268f;
    return 0.5f * erfcf(-x * ROOT_HALF) + (density == 0.0f ? 0.0f : x * density);
}

template <class X, class Y> __device__ void gelu_forward(const X *x, Y *y, int tanh_form, size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> v = read4(x, i, n);
        for (int k = 0; k < 4; k++) v.at[k] = gelu(v.at[k], tanh_form);
        write4(y, i, n, v);
    }
}

template <class D, class X, class Y>
__device__ void gelu_backward(const D *d_y, const X *x, Y *d_x, int tanh_form, size_t n) {
    EACH_FOUR(i, n) {
        Pack<4> d = read4(d_y, i, n), v = read4(x, i, n);
        for (int k = 0; k < 4; k++) d.at[k] *= gelu_slope(v.at[k], tanh_form);
        write4(d_x, i, n, d);
    }
}

#define FROM_TO(X, x, Y, y)                                                                       \
    extern "C" __global__ void cast_##x##_##y(const X *from, Y *to, size_t n) {                    \
        cast(from, to, n);                                                                         \
    }                                                                                              \
    extern "C" __global__ void swiglu_forward_##x##_##y(const X *gate, const X *up, Y *out,        \
                                                        size_t n) {                                \
        swiglu_forward(gate, up, out, n);                                                          \
    }                                                                                              \
    extern "C" __global__ void gelu_forward_##x##_##y(const X *in, Y *out, int form, size_t n) {   \
        gelu_forward(in, out, form, n);                                                            \
    }
FROM_TO(float, f32, float, f32)
FROM_TO(float, f32, bf16, bf16)
FROM_TO(bf16, bf16, float, f32)
FROM_TO(bf16, bf16, bf16, bf16)

#define BACKWARD(D, d, X, x, Y, y)                                                                 \
    extern "C" __global__ void swiglu_backward_##d##_##x##_##y(                                    \
        const D *d_y, const X *gate, const X *up, Y *d_gate, Y *d_up, size_t n) {                  \
        swiglu_backward(d_y, gate, up, d_gate, d_up, n);                                           \
    }                                                                                              \
    extern "C" __global__ void gelu_backward_##d##_##x##_##y(const D *d_y, const X *in, Y *d_x,    \
                                                             int form, size_t n) {                 \
        gelu_backward(d_y, in, d_x, form, n);                                                      \
    }
BACKWARD(float, f32, float, f32, float, f32)
BACKWARD(float, f32, float, f32, bf16, bf16)
BACKWARD(float, f32, bf16, bf16, float, f32)
BACKWARD(float, f32, bf16, bf16, bf16, bf16)
BACKWARD(bf16, bf16, float, f32, float, f32)
BACKWARD(bf16, bf16, float, f32, bf16, bf16)
BACKWARD(bf16, bf16, bf16, bf16, float, f32)
BACKWARD(bf16, bf16, bf16, bf16, bf16, bf16)

// Philox 4×32 with 10 rounds, as `random.rs` has it.
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; round++) {
        const u64 first = (u64)counter.x * 0xd2511f53u;
        const u64 second = (u64)counter.z * 0xcd9e8d57u;
        counter = make_uint4((u32)(second >> 32) ^ counter.y ^ key.x, (u32)second,
                             (u32)(first >> 32) ^ counter.w ^ key.y, (u32)first);
        key.x += 0x9e3779b9u;
        key.y += 0xbb67ae85u;
    }
    return counter;
}

// `keys` has sample and position of each row. A thread takes the four columns
// that one block of random words decides.
template <class T>
__device__ void dropout(const T *x, T *y, const uint2 *keys, size_t rows, size_t width,
                        float probability, u32 key_low, u32 key_high, u32 step) {
    const size_t fours = (width + 3) / 4;
    const float keep = 1.0f / (1.0f - probability);
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < rows * fours;
         i += (size_t)gridDim.x * blockDim.x) {
        const size_t row = i / fours, four = i % fours;
        const uint2 of = keys[row];
        const uint4 words = philox(make_uint4((u32)four, of.y, of.x, step), make_uint2(key_low, key_high));
        const u32 drawn[4] = {words.x, words.y, words.z, words.w};
        for (int k = 0; k < 4; k++) {
            const size_t column = 4 * four + k;
            if (column >= width) break;
            const float unit = (float)(drawn[k] >> 8) * (1.0f / 16777216.0f);
            const float value = widen(x[row * width + column]);
            y[row * width + column] = narrow<T>(value * (unit < probability ? 0.0f : keep));
        }
    }
}
extern "C" __global__ void dropout_f32(const float *x, float *y, const uint2 *keys, size_t rows,
                                       size_t width, float p, u32 low, u32 high, u32 step) {
    dropout(x, y, keys, rows, width, p, low, high, step);
}
extern "C" __global__ void dropout_bf16(const bf16 *x, bf16 *y, const uint2 *keys, size_t rows,
                                        size_t width, float p, u32 low, u32 high, u32 step) {
    dropout(x, y, keys, rows, width, p, low, high, step);
}

// One tensor of a call that reduces several.
struct Reduced {
    const void *at;
    u64 elements;
};

// `out[tensor][block]`: the sum of a block's share, of squares if so asked.
// The shares depend on the sizes alone.
template <class T>
__device__ void sums(const Reduced *tensors, double *out, int squares) {
    const Reduced tensor = tensors[blockIdx.y];
    const T *x = (const T *)tensor.at;
    double sum = 0.0;
    EACH_FOUR(i, tensor.elements) {
        Pack<4> v = read4(x, i, tensor.elements);
        for (int k = 0; k < 4; k++) {
            const double value = v.at[k];
            sum += squares ? value * value : value;
        }
    }
    __shared__ double shares[WARP];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(FULL, sum, step);
    if (threadIdx.x % WARP == 0) shares[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < blockDim.x / WARP; warp++) sum += shares[warp];
        out[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = sum;
    }
}
extern "C" __global__ void sums_f32(const Reduced *tensors, double *out, int squares) {
    sums<float>(tensors, out, squares);
}
extern "C" __global__ void sums_bf16(const Reduced *tensors, double *out, int squares) {
    sums<bf16>(tensors, out, squares);
}

struct AdamWFactors {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, keep, rate, root_correction, eps, grad_scale;
};

// One parameter's update; a copy is of f32 or bf16, or absent.
struct Update {
    float *param, *grad, *exp_avg, *exp_avg_sq, *copy_f32;
    bf16 *copy_bf16;
    u64 elements;
    AdamWFactors factors;
};

__device__ void adamw(const Update &u, bool zero_grad) {
    const AdamWFactors f = u.factors;
    const size_t n = u.elements;
    EACH_FOUR(i, n) {
        Pack<4> p = read4(u.param, i, n), g = read4(u.grad, i, n);
        Pack<4> m = read4(u.exp_avg, i, n), v = read4(u.exp_avg_sq, i, n);
        for (int k = 0; k < 4; k++) {
            const float d = g.at[k] * f.grad_scale;
            m.at[k] = f.beta1 * m.at[k] + f.one_minus_beta1 * d;
            v.at[k] = f.beta2 * v.at[k] + f.one_minus_beta2 * d * d;
            const float root = sqrtf(v.at[k]) / f.root_correction + f.eps;
            p.at[k] = p.at[k] * f.keep - f.rate * m.at[k] / root;
            g.at[k] = 0.0f;
        }
        write4(u.param, i, n, p);
        write4(u.exp_avg, i, n, m);
        write4(u.exp_avg_sq, i, n, v);
        if (zero_grad) write4(u.grad, i, n, g);
        if (u.copy_f32) write4(u.copy_f32, i, n, p);
        if (u.copy_bf16) write4(u.copy_bf16, i, n, p);
    }
}
extern "C" __global__ void adamw(Update update) { adamw(update, false); }
// One parameter for each blockIdx.y; gradients are zeroed.
extern "C" __global__ void adamw_all(const Update *updates) { adamw(updates[blockIdx.y], true); }

// Turns each pair (x[d], x[d + D/2]) of every head by its token's angle.
template <class X, class Y>
__device__ void rope(const X *x, const float *cos, const float *sin, Y *y, size_t tokens, int heads,
                     int pairs, float sign) {
    const size_t all = tokens * heads * pairs;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < all;
         i += (size_t)gridDim.x * blockDim.x) {
        const size_t head = i / pairs, token = head / heads;
        const int pair = i % pairs;
        const size_t low = head * 2 * pairs + pair, high = low + pairs;
        const float c = cos[token * pairs + pair], s = sign * sin[token * pairs + pair];
        const float a = widen(x[low]), b = widen(x[high]);
        y[low] = narrow<Y>(a * c - b * s);
        y[high] = narrow<Y>(b * c + a * s);
    }
}
#define ROPE(X, x, Y, y)                                                                           \
    extern "C" __global__ void rope_##x##_##y(const X *in, const float *cos, const float *sin,     \
                                              Y *out, size_t tokens, int heads, int pairs,         \
                                              float sign) {                                        \
        rope(in, cos, sin, out, tokens, heads, pairs, sign);                                       \
    }
ROPE(float, f32, float, f32)
ROPE(float, f32, bf16, bf16)
ROPE(bf16, bf16, float, f32)
ROPE(bf16, bf16, bf16, bf16)
