// Softmax cross-entropy, a block for each row of logits.

// The largest logit so far, its first place, and the sum of exp(logit − max).
struct Seen {
    float max, sum;
    u32 first;
};

__device__ __forceinline__ Seen join(Seen a, Seen b) {
    if (b.sum == 0.0f) return a;
    if (a.sum == 0.0f) return b;
    Seen both;
    both.max = fmaxf(a.max, b.max);
    both.sum = a.sum * expf(a.max - both.max) + b.sum * expf(b.max - both.max);
    both.first = a.max > b.max ? a.first : b.max > a.max ? b.first : min(a.first, b.first);
    return both;
}

// loss = ln Σ exp(logit) − logit[target]; with a gradient wanted, each logit
// becomes scale · (softmax − one-hot), in place or in `narrow`.
extern "C" __global__ void cross_entropy(float *logits, const u32 *targets, float *losses,
                                         float *correct, int wanted, float scale, bf16 *narrow_to,
                                         size_t vocabulary) {
    float *row = logits + (size_t)blockIdx.x * vocabulary;
    const u32 target = targets[blockIdx.x];
    // Four chains for each thread, so that loads overlap.
    Seen seen = {-INFINITY_F, 0.0f, 0xffffffffu};
    for (size_t base = threadIdx.x; base < vocabulary; base += 4 * (size_t)blockDim.x) {
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const size_t i = base + k * (size_t)blockDim.x;
            v[k] = i < vocabulary ? row[i] : -INFINITY_F;
        }
        const float max = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
        if (max > seen.max) {
            seen.sum *= expf(seen.max - max);
            seen.max = max;
#pragma unroll
            for (int k = 3; k >= 0; k--)
                if (v[k] == max) seen.first = (u32)(base + k * (size_t)blockDim.x);
        }
#pragma unroll
        for (int k = 0; k < 4; k++)
            // One of −∞ adds nothing, and the largest so far may be that too.
            if (v[k] != -INFINITY_F) seen.sum += expf(v[k] - seen.max);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        Seen other;
        other.max = __shfl_xor_sync(FULL, seen.max, step);
        other.sum = __shfl_xor_sync(FULL, seen.sum, step);
        other.first = __shfl_xor_sync(FULL, seen.first, step);
        // The lower lane's part comes first for both, so that they agree.
        seen = threadIdx.x & step ? join(other, seen) : join(seen, other);
    }
    __shared__ Seen warps[WARP];
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = seen;
    __syncthreads();
    seen = warps[0];
    for (int warp = 1; warp < blockDim.x / WARP; warp++) seen = join(seen, warps[warp]);
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = logf(seen.sum) + seen.max - row[target];
        correct[blockIdx.x] = seen.first == target ? 1.0f : 0.0f;
    }
    if (!wanted) return;
    // Before the row is written over, its loss has to be read.
    __syncthreads();
    const float inverse = 1.0f / seen.sum;
    for (size_t i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        const float probability = expf(row[i] - seen.max) * inverse;
        const float d = scale * (probability - (i == target ? 1.0f : 0.0f));
        if (narrow_to) narrow_to[(size_t)blockIdx.x * vocabulary + i] = narrow<bf16>(d);
        else row[i] = d;
    }
}

// The first place of a row's largest number, or −1 if one is not finite; a block
// for each row.
template <class T> __device__ void argmax(const T *x, int *found, size_t width) {
    const T *row = x + (size_t)blockIdx.x * width;
    float best = -INFINITY_F;
    int place = 0x7fffffff, strange = 0;
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) {
        const float value = widen(row[i]);
        strange |= !isfinite(value);
        if (value > best) {
            best = value;
            place = (int)i;
        }
    }
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(FULL, best, step);
        const int there = __shfl_xor_sync(FULL, place, step);
        if (other > best || (other == best && there < place)) {
            best = other;
            place = there;
        }
    }
    __shared__ float bests[WARP];
    __shared__ int places[WARP];
    if (threadIdx.x % WARP == 0) {
        bests[threadIdx.x / WARP] = best;
        places[threadIdx.x / WARP] = place;
    }
    strange = __syncthreads_or(strange);
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < blockDim.x / WARP; warp++)
        if (bests[warp] > best || (bests[warp] == best && places[warp] < place)) {
            best = bests[warp];
            place = places[warp];
        }
    found[blockIdx.x] = strange ? -1 : place;
}
extern "C" __global__ void argmax_f32(const float *x, int *found, size_t width) { argmax(x, found, width); }
extern "C" __global__ void argmax_bf16(const bf16 *x, int *found, size_t width) { argmax(x, found, width); }
