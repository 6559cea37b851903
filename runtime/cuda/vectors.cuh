// Values that one instruction moves: n elements side by side, aligned to their size.
#pragma once

template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
    static constexpr int lanes = n;
    T lane[n];

    __device__ T& operator[](int i) { return lane[i]; }
    __device__ const T& operator[](int i) const { return lane[i]; }
};

// 16 bytes, the widest access to global memory: 4 floats or 2 doubles.
template <class T>
using Vec = Pack<T, 16 / sizeof(T)>;

// n elements from an address that is a multiple of their size.
template <int n, class T>
__device__ __forceinline__ Pack<T, n> load_pack(const T* source)
{
    return *reinterpret_cast<const Pack<T, n>*>(source);
}

template <class T>
__device__ __forceinline__ Vec<T> load_vec(const T* source)
{
    return load_pack<Vec<T>::lanes>(source);
}

template <class T, int n>
__device__ __forceinline__ void store_pack(T* target, const Pack<T, n>& values)
{
    *reinterpret_cast<Pack<T, n>*>(target) = values;
}

template <class T>
__device__ __forceinline__ void store_vec(T* target, const Vec<T>& values)
{
    store_pack(target, values);
}
