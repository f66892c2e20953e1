// Types and small functions that all kernels share. The text stands before
// each file; NVRTC brings no headers of its own, and none is asked for.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// bfloat16: the upper half of an f32.
struct bf16 {
    u16 bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// Two f32 to two bf16, ties to even; `low` lands in the lower half.
__device__ __forceinline__ u32 narrow2(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) {
    return bf16{(u16)narrow2(x, 0.0f)};
}

// N neighbouring elements, N 1 or 4, read and written in one piece.
template <int N> struct Pack {
    float at[N];
};

__device__ __forceinline__ void load(const float *from, Pack<1> &to) { to.at[0] = *from; }
__device__ __forceinline__ void load(const bf16 *from, Pack<1> &to) { to.at[0] = widen(*from); }
__device__ __forceinline__ void load(const float *from, Pack<4> &to) {
    float4 v = *(const float4 *)from;
    to.at[0] = v.x; to.at[1] = v.y; to.at[2] = v.z; to.at[3] = v.w;
}
__device__ __forceinline__ void load(const bf16 *from, Pack<4> &to) {
    uint2 v = *(const uint2 *)from;
    to.at[0] = __uint_as_float(v.x << 16);
    to.at[1] = __uint_as_float(v.x & 0xffff0000u);
    to.at[2] = __uint_as_float(v.y << 16);
    to.at[3] = __uint_as_float(v.y & 0xffff0000u);
}
__device__ __forceinline__ void store(float *to, const Pack<1> &v) { *to = v.at[0]; }
__device__ __forceinline__ void store(bf16 *to, const Pack<1> &v) { *to = narrow<bf16>(v.at[0]); }
__device__ __forceinline__ void store(float *to, const Pack<4> &v) {
    *(float4 *)to = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
}
__device__ __forceinline__ void store(bf16 *to, const Pack<4> &v) {
    *(uint2 *)to = make_uint2(narrow2(v.at[0], v.at[1]), narrow2(v.at[2], v.at[3]));
}

#define INFINITY_F __int_as_float(0x7f800000)
#define WARP 32
#define FULL 0xffffffffu

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(FULL, x, step);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(FULL, x, step));
    return x;
}

// The sum over a block of at most 1024 threads, for every thread, in one
// order. Every thread of the block has to call it.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float sums[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int warps = (blockDim.x + WARP - 1) / WARP;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) sums[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? sums[lane] : 0.0f);
}
