"""Plain CUDA kernels, a thread an output, for the ops that the registry has no emitter of."""

from __future__ import annotations

from asmgen.cuda import registry
from asmgen.cuda.listing import CudaListing, Facts, Launch
from asmgen.cuda.render import CTYPES, literal
from asmgen.plan import specs
from asmgen.plan.specs import KernelSpec

THREADS = 64


def emit(spec: KernelSpec, precision: str = "float32") -> CudaListing:
    """The registry's listing, or a naive one."""
    try:
        return registry.emit(spec, precision)
    except KeyError:
        dtype, parameters, count, body = _NAIVE[type(spec)](spec)
    symbol, element = spec.symbol("cuda"), CTYPES[dtype]
    args = tuple(f"a{number}" for number in range(len(parameters)))
    text = f"""#include "device.cuh"
extern "C" __global__ void {symbol}({", ".join(parameters).replace("T*", element + "*")})
{{
    using T = {element};
    for (int i = blockIdx.x * {THREADS} + threadIdx.x; i < {count}; i += {THREADS} * 3) {{
        {body}
    }}
}}
"""
    launch = Launch(symbol, (3, 1, 1), THREADS, 0, args)
    return CudaListing(symbol, dtype, text, (launch,), Facts("naive", "", (), (), 0, 0, 0, "", ()))


def _load_input(spec):
    image, dst = spec.c * spec.h * spec.w, spec.dst
    scale, shift = (literal(values[0], dst.dtype) for values in (spec.scale, spec.shift))
    body = f"""const int n = i / {image}, f = i % {image};
        x[n * {dst.stride} + f] = fma(T(images[(size_t)indices[n] * {image} + f]), T({scale}), T({shift}));"""
    return dst.dtype, ("const uint8_t* images", "const uint32_t* indices", "T* x"), dst.n * image, body


def _dense_fwd(spec):
    w, x, y = spec.weights, spec.x, spec.y
    body = f"""const int n = i / {w.out}, o = i % {w.out};
        T sum = {f"w[{w.bias_offset_bytes // w.element_bytes} + o]" if spec.bias else "0"};
        for (int k = 0; k < {x.features}; ++k) sum = fma(x[n * {x.stride} + k], w[o * {w.inputs.stride} + k], sum);
        y[n * {y.stride} + o] = {_act(spec.act, "sum")};"""
    return y.dtype, ("const T* x", "const T* w", "T* y"), y.n * w.out, body


def _dense_dx(spec):
    w, dx, dy = spec.weights, spec.dx, spec.dy
    body = f"""const int n = i / {dx.features}, k = i % {dx.features};
        T sum = 0;
        for (int o = 0; o < {w.out}; ++o) sum = fma(dy[n * {dy.stride} + o], w[o * {w.inputs.stride} + k], sum);
        dx[n * {dx.stride} + k] = sum;"""
    return dx.dtype, ("const T* dy", "const T* w", "T* dx"), dx.n * dx.features, body


def _dense_dw(spec):
    w, x, dy = spec.weights, spec.x, spec.dy
    columns = x.features + 1  # the last is the bias
    body = f"""const int o = i / {columns}, k = i % {columns};
        T sum = 0;
        for (int n = 0; n < {x.n}; ++n)
            sum = fma(dy[n * {dy.stride} + o], k == {x.features} ? T(1) : x[n * {x.stride} + k], sum);
        dw[k == {x.features} ? {w.bias_offset_bytes // w.element_bytes} + o : o * {w.inputs.stride} + k] = sum;"""
    return x.dtype, ("const T* x", "const T* dy", "T* dw"), w.out * columns, body


def _act_fwd(spec):
    return (
        spec.x.dtype, ("const T* x", "T* y"), spec.x.size_bytes // spec.x.element_bytes,
        f"y[i] = {_act(spec.act, 'x[i]')};",
    )  # fmt: skip


def _act_bwd(spec):
    slope = {"relu": "(y[i] > 0 ? T(1) : T(0))", "sigmoid": "y[i] * (T(1) - y[i])"}[spec.act.kind]
    count = spec.dy.size_bytes // spec.dy.element_bytes
    return spec.dy.dtype, ("const T* dy", "const T* y", "T* dx"), count, f"dx[i] = dy[i] * {slope};"


def _loss(spec):
    z = spec.z
    lines = {
        "softmax_ce": f"""T top = z[i * {z.stride}], sum = 0;
        for (int k = 1; k < {z.features}; ++k) top = z[i * {z.stride} + k] > top ? z[i * {z.stride} + k] : top;
        for (int k = 0; k < {z.features}; ++k) sum += exp(z[i * {z.stride} + k] - top);
        T error = log(sum) + top - z[i * {z.stride} + labels[i]];
        const T divisor = 1;
        const auto slope = [&](T v, T y) {{ return exp(v - top) / sum - y; }};""",
        "bce": f"""T error = 0;
        for (int k = 0; k < {z.features}; ++k) error += log(T(1) + exp(target(k) > 0 ? -at(k) : at(k))) / {z.features};
        const T divisor = {z.features};
        const auto slope = [&](T v, T y) {{ return T(1) / (T(1) + exp(-v)) - y; }};""",
        "mse": f"""T error = 0;
        for (int k = 0; k < {z.features}; ++k) error += (at(k) - target(k)) * (at(k) - target(k)) / {z.features};
        const T divisor = {z.features};
        const auto slope = [&](T v, T y) {{ return 2 * (v - y); }};""",
    }[spec.kind]
    one = f"at(0) > {'0' if spec.kind == 'bce' else 'T(0.5)'}"
    body = f"""const auto at = [&](int k) {{ return z[i * {z.stride} + k]; }};
        const auto target = [&](int k) {{ return T({z.features} == 1 ? labels[i] : labels[i] == uint32_t(k)); }};
        {lines}
        const bool present = i < int(reinterpret_cast<const uint32_t*>(loss)[2]);
        uint32_t best = 0;
        for (int k = 1; k < {z.features}; ++k) best = at(k) > at(best) ? k : best;
        if ({z.features} == 1) best = {one};
        reinterpret_cast<T*>(reinterpret_cast<char*>(loss) + {spec.losses_offset_bytes})[i] = present ? error : T(0);
        reinterpret_cast<uint32_t*>(reinterpret_cast<char*>(loss) + {spec.preds_offset_bytes})[i] = present ? best : 0;
        for (int k = 0; k < {z.features}; ++k)
            dz[i * {z.stride} + k] = present ? slope(at(k), target(k)) * loss[0] / divisor : T(0);"""
    return z.dtype, ("const T* z", "const uint32_t* labels", "T* dz", "T* loss"), z.n, body


def _act(act, value):
    return {"none": value, "relu": f"({value} > 0 ? {value} : T(0))", "sigmoid": f"T(1) / (T(1) + exp(-{value}))"}[
        act.kind
    ]


_NAIVE = {
    specs.LoadInput: _load_input,
    specs.DenseForward: _dense_fwd,
    specs.DenseBackwardInput: _dense_dx,
    specs.DenseBackwardWeights: _dense_dw,
    specs.ActForward: _act_fwd,
    specs.ActBackward: _act_bwd,
    specs.Loss: _loss,
}
