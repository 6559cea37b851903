// The names of device.cuh on one CPU thread, strict where a GPU is lenient (docs/cuda.md, Proof without a GPU).
// Nothing here runs on a GPU; a kernel compiled against it is called through emulation::run.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "emulation/scheduler.hpp"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

using emulation::blockDim;
using emulation::blockIdx;
using emulation::gridDim;
using emulation::threadIdx;
using emulation::Place;

inline int renewed(int value) { return value; }

template <class T>
T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T>
T max(T a, T b)
{
    return a < b ? b : a;
}

#include "emulation/copies.hpp"
#include "emulation/collectives.hpp"
