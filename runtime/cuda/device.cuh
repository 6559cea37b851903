// What a kernel may use beyond plain C++. On a GPU the names come from hardware.cuh, the only file with inline PTX;
// with
// ASMGEN_EMULATION defined, from emulation.hpp, so that g++ compiles the very same kernels for a CPU (docs/cuda.md).
//
// Kernels are compiled with -fmad=false: a product and a sum are fused where the text says fma and nowhere else.
#pragma once

#include <stdint.h>

#ifdef ASMGEN_EMULATION
#include "emulation.hpp"
#else
#include "hardware.cuh"
#endif

#include "vectors.cuh"
#include "warp.cuh"
#include "math.cuh"
