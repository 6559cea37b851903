// Reductions over the 32 lanes of a warp, in one order for every run; every lane gets the result.
#pragma once

template <class T>
__device__ __forceinline__ T warp_sum(T value)
{
    for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2) value += shuffle_xor(value, lane_mask);
    return value;
}

template <class T>
__device__ __forceinline__ T warp_max(T value)
{
    for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2) {
        const T other = shuffle_xor(value, lane_mask);
        value = other > value ? other : value;
    }
    return value;
}

template <class T>
__device__ __forceinline__ T warp_min(T value)
{
    for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2) {
        const T other = shuffle_xor(value, lane_mask);
        value = other < value ? other : value;
    }
    return value;
}
