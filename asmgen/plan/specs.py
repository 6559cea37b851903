"""KernelSpec: what a kernel computes, for one exact shape. A kernel is emitted once per distinct spec.

Specs are frozen, hashable and printable; layouts inside them fix every stride. `check()` holds the assumptions that
emitters rely on. Argument order and slice units: docs/architecture.md, Kernel ABI.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from asmgen.plan.layout import Activations, ConvWeights, DenseWeights, Image, Rows


@dataclass(frozen=True)
class Activation:
    """y = f(z): kind "none", "relu", "leaky_relu" (slope alpha below zero), "sigmoid" or "tanh"."""

    kind: str = "none"
    alpha: float = 0.0

    def __bool__(self) -> bool:
        return self.kind != "none"


@dataclass(frozen=True)
class Pool:
    """A pooling window ph x pw moved by sh, sw without padding; kind "max" or "avg"."""

    kind: str
    ph: int
    pw: int
    sh: int
    sw: int

    @property
    def is_tiling(self) -> bool:
        """Windows touch without overlapping: what a convolution can fuse."""
        return (self.ph, self.pw) == (self.sh, self.sw)


@dataclass(frozen=True)
class KernelSpec:
    """Base of all specs."""

    def slice_units(self) -> int:
        """The extent of [begin, end)."""
        raise NotImplementedError

    def stem(self) -> str:
        """The symbol without the ISA: op, shapes, fusion, dtype (`f32` / `f64`)."""
        raise NotImplementedError

    def symbol(self, isa_name: str) -> str:
        return f"{self.stem()}_{isa_name}"

    def flops(self) -> int:
        """Floating point operations of the whole slice; a multiply and an add count one each."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ValueError when an assumption of the emitters does not hold."""


def dtype_tag(dtype: str) -> str:
    """f32 or f64."""
    return {"float32": "f32", "float64": "f64"}[dtype]


def _require(condition: bool, spec: KernelSpec, message: str) -> None:
    if not condition:
        values = ", ".join(f"{field.name}={getattr(spec, field.name)}" for field in fields(spec))
        raise ValueError(f"{type(spec).__name__}: {message} ({values})")


def activation_tag(act: Activation) -> str:
    """`_relu`, `_leaky0p01`, ... or nothing."""
    if act.kind == "leaky_relu":
        return "_leaky" + repr(act.alpha).replace(".", "p").replace("-", "m").replace("+", "")
    return f"_{act.kind}" if act else ""


def _halo_tag(image: Image) -> str:
    halo = image.halo
    sides = (halo.top, halo.bottom, halo.left, halo.right)
    if not halo:
        return ""
    return f"p{halo.top}" if len(set(sides)) == 1 else "p" + "x".join(map(str, sides))


def image_tag(image: Image) -> str:
    """`c32h64w64p1`: channels, interior, halo."""
    return f"c{image.c}h{image.h}w{image.w}{_halo_tag(image)}"


def _pool_tag(pool: Pool | None) -> str:
    if pool is None:
        return ""
    window = f"{pool.ph}" if pool.ph == pool.pw else f"{pool.ph}x{pool.pw}"
    if pool.is_tiling:
        return f"_{pool.kind}pool{window}"
    stride = f"{pool.sh}" if pool.sh == pool.sw else f"{pool.sh}x{pool.sw}"
    return f"_{pool.kind}pool{window}s{stride}"


@dataclass(frozen=True)
class Conv:
    """Geometry shared by the kernels of z[oc,oh,ow] = b[oc] + sum_{c,i,j} x[c, oh*sh+i-pt, ow*sw+j-pl] * w[oc,c,i,j].

    `oh`, `ow` are the rows and columns of z that are computed: with a fused pool, only those the pool reads. x has a
    halo at least as wide as the taps reach, so x offsets (oh*sh+i-pt) are always inside the buffer.
    """

    x: Image
    weights: ConvWeights
    oh: int
    ow: int
    sh: int
    sw: int
    pt: int
    pl: int
    bias: bool

    @property
    def macs(self) -> int:
        w = self.weights
        return self.x.n * self.oh * self.ow * w.oc * w.c * w.kh * w.kw

    def tag(self) -> tuple[str, str]:
        """(`conv3s2`, `n16c32h64w64p1_k64`): op and shape parts of a symbol."""
        w = self.weights
        kernel = f"{w.kh}" if w.kh == w.kw else f"{w.kh}x{w.kw}"
        stride = (
            "" if (self.sh, self.sw) == (1, 1) else f"s{self.sh}" if self.sh == self.sw else f"s{self.sh}x{self.sw}"
        )
        pad = f"t{self.pt}l{self.pl}" if (self.pt, self.pl) != (self.x.halo.top, self.x.halo.left) else ""
        block = "planar" if self.x.block == 1 and w.block != 1 else ""
        return f"conv{kernel}{stride}{pad}", f"n{self.x.n}{image_tag(self.x)}{block}_k{w.oc}"


@dataclass(frozen=True)
class Conv2dForward(KernelSpec):
    """y = pool(act(conv(x) + b)), in one kernel; z is never stored.

    pool is None or tiling. With max-pooling the activation (monotone: none, relu, leaky_relu with alpha >= 0) is
    applied after the maximum. `codes`: whether rcx receives the u8 argmax codes (max) or live bits (average with relu
    or leaky_relu). y may have a halo (it is not written) and its pad lanes are written with zeros.
    """

    conv: Conv
    y: Image
    act: Activation
    pool: Pool | None
    codes: bool

    def slice_units(self) -> int:
        return self.conv.x.n

    def stem(self) -> str:
        op, shape = self.conv.tag()
        out = f"_o{_halo_tag(self.y)}" if self.y.halo else ""
        bias = "_bias" if self.conv.bias else ""
        fused = f"{bias}{activation_tag(self.act)}{_pool_tag(self.pool)}"
        return f"{op}_fwd_{shape}{out}{fused}_{dtype_tag(self.y.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs

    def check(self) -> None:
        _require(self.pool is None or self.pool.is_tiling, self, "only a tiling pool can be fused")
        _require(self.act.kind in ("none", "relu", "leaky_relu"), self, "activation cannot be fused")
        _require(not (self.codes and self.pool is None), self, "codes need a pool")
        ph, pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        _require((self.y.h * ph, self.y.w * pw) == (self.conv.oh, self.conv.ow), self, "y does not fit z and pool")
        _require(
            not (self.pool and self.pool.kind == "avg" and self.codes and ph * pw > 8),
            self,
            "live bits need a window of <= 8",
        )


@dataclass(frozen=True)
class Conv2dUnpool(KernelSpec):
    """dz from dy: through the pool (argmax codes, or average) and the activation. dz has the halo that dx needs.

    max: dz[position] = (argmax == position) * dy * f'(y), every position of the window is written.
    avg: dz[position] = dy / (ph*pw) * f'(z) with f' from the live bits. No pool: dz = dy * f'(y).
    relu: f' = (y > 0); leaky_relu: y > 0 ? 1 : alpha; none: 1. dz's halo is never written.
    """

    dy: Image
    y: Image
    dz: Image
    act: Activation
    pool: Pool | None

    def slice_units(self) -> int:
        return self.dz.n

    def stem(self) -> str:
        shape = f"n{self.dz.n}{image_tag(self.y)}"
        d = f"_d{_halo_tag(self.dy)}" if self.dy.halo else ""
        z = f"_z{_halo_tag(self.dz)}" if self.dz.halo else ""
        return f"unpool_{shape}{d}{z}{activation_tag(self.act)}{_pool_tag(self.pool)}_{dtype_tag(self.dz.dtype)}"

    def flops(self) -> int:
        return self.dz.n * self.dz.c * self.dz.h * self.dz.w


@dataclass(frozen=True)
class Conv2dBackwardInput(KernelSpec):
    """dx[c,h,w] = sum_{oc,i,j} dz[oc, (h+pt-i)/sh, (w+pl-j)/sw] * w[oc,c,i,j] over the taps that divide; overwritten.

    w is the copy with lanes = input channels (`conv.weights.input_gradient()`); dz has a halo so that every tap
    reads inside its buffer. dx may have a halo (not written).
    """

    conv: Conv
    dz: Image
    dx: Image

    def slice_units(self) -> int:
        return self.dx.n

    def stem(self) -> str:
        op, shape = self.conv.tag()
        halos = f"_z{_halo_tag(self.dz)}" + (f"_d{_halo_tag(self.dx)}" if self.dx.halo else "")
        return f"{op}_dx_{shape}{halos}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs


@dataclass(frozen=True)
class Conv2dBackwardWeights(KernelSpec):
    """dw[oc,c,i,j] = sum_{n,oh,ow} dz[n,oc,oh,ow] * x[n,c,oh*sh+i-pt,ow*sw+j-pl]; db[oc] = sum dz. Overwritten.

    Without bias the bias part of dw is not written.
    """

    conv: Conv
    dz: Image

    def slice_units(self) -> int:
        return self.conv.weights.n_oc_blocks

    def stem(self) -> str:
        op, shape = self.conv.tag()
        z = f"_z{_halo_tag(self.dz)}" if self.dz.halo else ""
        return f"{op}_dw_{shape}{z}{'_bias' if self.conv.bias else ''}_{dtype_tag(self.dz.dtype)}"

    def flops(self) -> int:
        return 2 * self.conv.macs


@dataclass(frozen=True)
class Conv2dPackInputGradient(KernelSpec):
    """w_dx[c/V][oc][kh][kw][V] = w[oc/V][c][kh][kw][V], transposed; pad lanes zero."""

    weights: ConvWeights

    def slice_units(self) -> int:
        return self.weights.input_gradient().n_oc_blocks

    def stem(self) -> str:
        w = self.weights
        return f"conv{w.kh}x{w.kw}_pack_dx_k{w.oc}c{w.c}_{dtype_tag(w.dtype)}"

    def flops(self) -> int:
        return 0


@dataclass(frozen=True)
class PoolForward(KernelSpec):
    """y[c,oh,ow] = max or mean of x over a window of any size and stride; max writes u8 codes (r*pw+s, first wins)."""

    x: Image
    y: Image
    pool: Pool

    def slice_units(self) -> int:
        return self.x.n

    def stem(self) -> str:
        o = f"_o{_halo_tag(self.y)}" if self.y.halo else ""
        return f"pool_fwd_n{self.x.n}{image_tag(self.x)}{o}{_pool_tag(self.pool)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.y.n * self.y.c * self.y.h * self.y.w * self.pool.ph * self.pool.pw

    def check(self) -> None:
        _require(self.pool.ph * self.pool.pw <= 256, self, "argmax codes are u8: a window of at most 256")


@dataclass(frozen=True)
class PoolBackward(KernelSpec):
    """dx of the pool; windows may overlap (contributions add up, in window order). Overwritten, halo untouched."""

    dy: Image
    dx: Image
    pool: Pool

    def slice_units(self) -> int:
        return self.dx.n

    def stem(self) -> str:
        d = f"_d{_halo_tag(self.dy)}" if self.dy.halo else ""
        return f"pool_bwd_n{self.dx.n}{image_tag(self.dx)}{d}{_pool_tag(self.pool)}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return self.dy.n * self.dy.c * self.dy.h * self.dy.w * self.pool.ph * self.pool.pw


def activations_tag(layout: Activations) -> str:
    """`n16c32h64w64p1` or `n64f128` (features), `n16f32768c128h16w16` for flattened images."""
    if isinstance(layout, Rows):
        source = f"c{layout.source.c}h{layout.source.h}w{layout.source.w}" if layout.source else ""
        return f"n{layout.n}f{layout.features}{source}"
    return f"n{layout.n}{image_tag(layout)}"


@dataclass(frozen=True)
class ActForward(KernelSpec):
    """y = f(x) over a whole tensor (x and y have the same layout but for the halo; y may be x). Pad lanes stay zero."""

    x: Activations
    y: Activations
    act: Activation

    def slice_units(self) -> int:
        return self.x.n

    def stem(self) -> str:
        o = f"_o{_halo_tag(self.y)}" if isinstance(self.y, Image) and self.y.halo else ""
        return f"act_fwd_{activations_tag(self.x)}{o}{activation_tag(self.act)}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return self.x.size_bytes // self.x.element_bytes


@dataclass(frozen=True)
class ActBackward(KernelSpec):
    """dx = dy * f'(y): relu y>0, leaky y>0 ? 1 : alpha, sigmoid y(1-y), tanh 1-y^2. dx may be dy."""

    dy: Activations
    y: Activations
    dx: Activations
    act: Activation

    def slice_units(self) -> int:
        return self.dy.n

    def stem(self) -> str:
        halos = "".join(
            f"_{name}{_halo_tag(t)}"
            for name, t in (("d", self.dy), ("y", self.y), ("o", self.dx))
            if isinstance(t, Image) and t.halo
        )
        base = activations_tag(self.dy).split("p")[0] if isinstance(self.dy, Image) else activations_tag(self.dy)
        return f"act_bwd_{base}{halos}{activation_tag(self.act)}_{dtype_tag(self.dy.dtype)}"

    def flops(self) -> int:
        return 2 * self.dy.size_bytes // self.dy.element_bytes


@dataclass(frozen=True)
class DenseForward(KernelSpec):
    """y[n,o] = act(b[o] + sum_k x[n,k] w[o,k]); act none, relu, leaky_relu. Outputs padded to 4 are written (zeros)."""

    x: Rows
    weights: DenseWeights
    y: Rows
    bias: bool
    act: Activation

    def slice_units(self) -> int:
        return self.weights.n_rows // 4

    def stem(self) -> str:
        bias = "_bias" if self.bias else ""
        fused = f"{bias}{activation_tag(self.act)}"
        return f"dense_fwd_{activations_tag(self.x)}_k{self.weights.out}{fused}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out

    def check(self) -> None:
        _require(self.act.kind in ("none", "relu", "leaky_relu"), self, "activation cannot be fused")


@dataclass(frozen=True)
class DenseBackwardInput(KernelSpec):
    """dx[n,k] = sum_o dy[n,o] w[o,k]; overwritten. Slice: vectors of inputs (of weights.inputs.n_vectors)."""

    dy: Rows
    weights: DenseWeights
    dx: Rows

    def slice_units(self) -> int:
        return self.dx.n_vectors

    def stem(self) -> str:
        return f"dense_dx_{activations_tag(self.dx)}_k{self.weights.out}_{dtype_tag(self.dx.dtype)}"

    def flops(self) -> int:
        return 2 * self.dx.n * self.dx.features * self.weights.out


@dataclass(frozen=True)
class DenseBackwardWeights(KernelSpec):
    """dw[o,k] = sum_n dy[n,o] x[n,k]; db[o] = sum_n dy[n,o] (behind dw, as the bias lies); overwritten."""

    x: Rows
    dy: Rows
    weights: DenseWeights
    bias: bool

    def slice_units(self) -> int:
        return self.weights.n_rows // 4

    def stem(self) -> str:
        bias = "_bias" if self.bias else ""
        return f"dense_dw_{activations_tag(self.x)}_k{self.weights.out}{bias}_{dtype_tag(self.x.dtype)}"

    def flops(self) -> int:
        return 2 * self.x.n * self.x.features * self.weights.out


@dataclass(frozen=True)
class LoadInput(KernelSpec):
    """dst[n] = u8 image[indices[n]] * scale[c] + shift[c]; images are planar `c h w` u8, one after the other.

    dst is an Image with block 1 (its halo is not written) or Rows without source (features in c, h, w order).
    """

    c: int
    h: int
    w: int
    dst: Activations
    scale: tuple[float, ...]  # one per channel
    shift: tuple[float, ...]

    def slice_units(self) -> int:
        return self.dst.n

    def stem(self) -> str:
        kind = "image" if isinstance(self.dst, Image) else "rows"
        halo = _halo_tag(self.dst) if isinstance(self.dst, Image) else ""
        return f"load_input_n{self.dst.n}c{self.c}h{self.h}w{self.w}{halo}_{kind}_{dtype_tag(self.dst.dtype)}"

    def flops(self) -> int:
        return 2 * self.dst.n * self.c * self.h * self.w


@dataclass(frozen=True)
class Loss(KernelSpec):
    """losses[n], preds[n] and dz from z and labels (docs/architecture.md, Loss block).

    kind: "softmax_ce" -log softmax(z)[label], dz = (softmax - onehot) * inv_count; "bce" mean over outputs of
    max(z,0) - z*y + log1p(exp(-|z|)), dz = (sigmoid(z) - y) * inv_count / outputs; "mse" mean over outputs of
    (z - y)^2, dz = 2 (z - y) * inv_count / outputs. Rows of absent samples (n >= present): loss 0, dz 0, pred 0.
    """

    kind: str
    z: Rows

    def slice_units(self) -> int:
        return self.z.n

    def stem(self) -> str:
        return f"{self.kind}_{activations_tag(self.z)}_{dtype_tag(self.z.dtype)}"

    def flops(self) -> int:
        return 10 * self.z.n * self.z.features


@dataclass(frozen=True)
class Update(KernelSpec):
    """One optimizer step over `n_vectors` vectors of parameters. States lie one after the other, each n_vectors long.

    kind: "sgd" (no state), "momentum", "nesterov" (one), "adam", "adamw" (m, then v). Formulas and the hyper block:
    docs/architecture.md.
    """

    kind: str
    dtype: str
    block: int
    n_vectors: int
    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0

    @property
    def n_states(self) -> int:
        return {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}[self.kind]

    def slice_units(self) -> int:
        return self.n_vectors

    def stem(self) -> str:
        return f"update_{self.kind}_v{self.n_vectors}_{dtype_tag(self.dtype)}"

    def flops(self) -> int:
        per_element = {"sgd": 2, "momentum": 4, "nesterov": 6, "adam": 12, "adamw": 14}[self.kind]
        return per_element * self.n_vectors * self.block
