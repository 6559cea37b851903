"""The reference itself: forward ops against definitions written as loops, gradients against finite differences,
losses and optimizers against PyTorch where it is installed."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest

from asmgen import ELU, HardSwish, ReLU6, Scale
from asmgen.ops.base import Elementwise
from asmgen.plan import specs
from asmgen.plan.layout import ConvWeights, DenseWeights, Halo, Image, Rows
from asmgen.plan.specs import Activation, Conv, Pool
from asmgen.reference import conv, ops

F64 = "float64"
STEP = 1e-6


def geometry(
    c: int, oc: int, h: int, w: int, kh: int, kw: int, stride: int = 1, pad: int = 0, pool: Pool | None = None
) -> Conv:
    """A convolution of 2 samples; z is cropped to what the pool reads."""
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    oh, ow = (h + 2 * pad - kh) // stride + 1, (w + 2 * pad - kw) // stride + 1
    x = Image(2, c, h, w, 8, F64, Halo(pad, pad, pad, pad))
    weights = ConvWeights(oc, c, kh, kw, 8, F64)
    return Conv(x, weights, oh // ph * ph, ow // pw * pw, stride, stride, pad, pad, True)


GEOMETRIES = [
    geometry(3, 4, 6, 5, 3, 3, pad=1),
    geometry(2, 3, 9, 8, 5, 3, stride=2, pad=2),
    geometry(1, 2, 7, 7, 1, 1, stride=3),
    geometry(2, 1, 7, 9, 3, 3, pad=1, pool=Pool("max", 2, 2, 2, 2)),
]


@pytest.mark.parametrize("c", GEOMETRIES)
def test_convolution_is_its_definition(c: Conv) -> None:
    rng = np.random.default_rng(0)
    weights = c.weights
    x, w, b = (
        rng.normal(size=(2, c.x.c, c.x.h, c.x.w)),
        rng.normal(size=(weights.oc, weights.c, weights.kh, weights.kw)),
        rng.normal(size=weights.oc),
    )
    z = np.zeros((2, weights.oc, c.oh, c.ow)) + b[:, None, None]
    for oh, ow, i, j in product(range(c.oh), range(c.ow), range(weights.kh), range(weights.kw)):
        row, col = oh * c.sh + i - c.pt, ow * c.sw + j - c.pl
        if 0 <= row < c.x.h and 0 <= col < c.x.w:
            z[:, :, oh, ow] += x[:, :, row, col] @ w[:, :, i, j].T
    np.testing.assert_allclose(conv.forward(c, x, w, b), z, rtol=1e-13, atol=1e-13)


def slope_along(f: object, at: np.ndarray, direction: np.ndarray) -> float:
    """The derivative of a scalar function along a direction, by central differences."""
    return (f(at + STEP * direction) - f(at - STEP * direction)) / (2 * STEP)  # type: ignore[operator]


def assert_gradient(f: object, at: np.ndarray, gradient: np.ndarray) -> None:
    direction = np.random.default_rng(9).normal(size=at.shape)
    assert slope_along(f, at, direction) == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


ACTIVATIONS = [Activation(), Activation("relu"), Activation("leaky_relu", 0.1)]
POOLS = [None, Pool("max", 2, 2, 2, 2), Pool("avg", 2, 2, 2, 2), Pool("max", 3, 2, 3, 2), Pool("avg", 1, 3, 1, 3)]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_fused_convolution_gradients(act: Activation, pool: Pool | None) -> None:
    rng = np.random.default_rng(1)
    c = geometry(2, 3, 8, 9, 3, 3, pad=1, pool=pool)
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    y_image = Image(2, 3, c.oh // ph, c.ow // pw, 8, F64)
    dz_image = Image(2, 3, c.oh, c.ow, 8, F64)
    has_codes = pool is not None and (pool.kind == "max" or bool(act))
    forward = specs.Conv2dForward(c, y_image, act, pool, has_codes)
    forward.check()
    x, w, b = rng.normal(size=(2, 2, 8, 9)), rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3)
    y, codes = ops.run(forward, x, w, b)
    dy = rng.normal(size=y.shape)
    (dz,) = ops.run(specs.Conv2dUnpool(y_image, y_image, dz_image, act, pool), dy, y, codes)
    (dx,) = ops.run(specs.Conv2dBackwardInput(c, dz_image, c.x), dz, w)
    dw, db = ops.run(specs.Conv2dBackwardWeights(c, dz_image), x, dz)
    assert_gradient(lambda v: (dy * ops.run(forward, v, w, b)[0]).sum(), x, dx)
    assert_gradient(lambda v: (dy * ops.run(forward, x, v, b)[0]).sum(), w, dw)
    assert_gradient(lambda v: (dy * ops.run(forward, x, w, v)[0]).sum(), b, db)


@pytest.mark.parametrize("pool", [Pool("max", 3, 3, 2, 2), Pool("avg", 2, 3, 1, 2), Pool("max", 2, 2, 3, 3)])
def test_pool_gradients(pool: Pool) -> None:
    x_image = Image(2, 3, 7, 8, 8, F64)
    y_image = Image(2, 3, (7 - pool.ph) // pool.sh + 1, (8 - pool.pw) // pool.sw + 1, 8, F64)
    x = np.random.default_rng(2).normal(size=(2, 3, 7, 8))
    forward = specs.PoolForward(x_image, y_image, pool)
    y, codes = ops.run(forward, x)
    dy = np.random.default_rng(3).normal(size=y.shape)
    (dx,) = ops.run(specs.PoolBackward(y_image, x_image, pool), dy, codes)
    assert_gradient(lambda v: (dy * ops.run(forward, v)[0]).sum(), x, dx)


def test_global_average_gradients() -> None:
    rng, image, rows = np.random.default_rng(4), Image(2, 3, 4, 5, 8, F64), Rows(2, 3, 8, F64)
    x, dy = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3))
    forward = specs.GlobalAvgPoolForward(image, rows)
    assert ops.run(forward, x)[0][1, 2] == pytest.approx(x[1, 2].sum() / 20)
    (dx,) = ops.run(specs.GlobalAvgPoolBackward(rows, image), dy)
    assert_gradient(lambda v: (dy * ops.run(forward, v)[0]).sum(), x, dx)


@pytest.mark.parametrize("shape", [(4, 5), ()])
def test_concatenations(shape: tuple[int, ...]) -> None:
    """All inputs together are NumPy's; a gradient is that input's channels."""
    rng, counts = np.random.default_rng(5), (3, 1, 9)

    def layout(c: int) -> Image | Rows:
        return Image(2, c, *shape, 8, F64) if shape else Rows(2, c, 8, F64)

    inputs = [rng.normal(size=(2, c, *shape)) for c in counts]
    whole, y = layout(sum(counts)), None
    for at, x in enumerate(inputs):
        (y,) = ops.run(specs.ConcatForward(layout(counts[at]), whole, sum(counts[:at])), x, y)
    assert np.array_equal(y, np.concatenate(inputs, 1))
    for at, x in enumerate(inputs):
        (dx,) = ops.run(specs.ConcatBackward(whole, layout(counts[at]), sum(counts[:at])), y)
        assert np.array_equal(dx, x)


def test_copies_in_the_order_of_a_vector() -> None:
    """Of the values as they lie in memory: the vector's are c, h, w."""
    image, rows = Image(2, 3, 4, 5, 8, F64), Rows(2, 60, 8, F64)
    x = np.random.default_rng(6).normal(size=(2, 3, 4, 5))
    (y,) = ops.run(specs.InOrderForward(image, rows), x)
    assert np.array_equal(rows.pack(y).reshape(2, -1)[:, :60], x.reshape(2, 60))
    assert np.array_equal(ops.run(specs.InOrderBackward(rows, image), y)[0], x)


def test_probabilities() -> None:
    z = np.array([[1000.0, 1000 + np.log(3), 0], [-1, 0, 1]])
    rows = Rows(2, 3, 8, F64)
    (p,) = ops.run(specs.Probabilities("softmax", rows), z)
    np.testing.assert_allclose(p[0], [0.25, 0.75, 0], rtol=1e-12)
    np.testing.assert_allclose(p[1], np.exp(z[1]) / np.exp(z[1]).sum(), rtol=1e-12)
    (p,) = ops.run(specs.Probabilities("sigmoid", rows), z)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-z)), rtol=1e-12)


def test_argmax_of_ties_is_the_first_in_row_major_order() -> None:
    pool = Pool("max", 2, 2, 2, 2)
    x = np.array([[[[1.0, 5, 0, 0], [5, 5, 0, 0]]]])
    _, codes = ops.run(specs.PoolForward(Image(1, 1, 2, 4, 8, F64), Image(1, 1, 1, 2, 8, F64), pool), x)
    assert codes.tolist() == [[[[1, 0]]]]


@pytest.mark.parametrize(
    "act",
    [
        *ACTIVATIONS[1:],
        Activation("relu6"),
        Activation("elu", 1.0),
        Activation("elu", 0.3),
        Activation("sigmoid"),
        Activation("tanh"),
        Activation("gelu"),
        Activation("silu"),
        Activation("hard_swish"),
        Activation("scale", -0.7),
    ],
    ids=str,
)
def test_activation_gradients(act: Activation) -> None:
    rows = Rows(3, 5, 8, F64)
    x, dy = np.random.default_rng(4).normal(size=(2, 3, 5))
    x[0] = [-5, -3.5, 3.5, 5, 7]  # behind the kinks
    (y,) = ops.run(specs.ActForward(rows, rows, act), x)
    saved = x if act.traits.slope_from == "x" else y
    (dx,) = ops.run(specs.ActBackward(rows, rows, rows, act), dy, saved)
    assert_gradient(lambda v: (dy * ops.run(specs.ActForward(rows, rows, act), v)[0]).sum(), x, dx)


@pytest.mark.parametrize("layer", [ReLU6(), ELU(), ELU(0.3), HardSwish(), Scale(-0.7)], ids=str)
def test_activations_are_pytorchs_at_their_kinks(layer: Elementwise) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([-1e3, -7, -3, -1e-9, -0.0, 0, 1e-9, 1, 3, 6, 7, 1e3, np.nan])
    given = torch.tensor(x, requires_grad=True)
    expected = layer.torch((len(x),))(given)
    expected.sum().backward()
    y = layer.f(x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-15)
    saved, numbers = x if layer.slope_from == "x" else y, ~np.isnan(x)
    np.testing.assert_allclose(layer.slope(saved)[numbers], given.grad.numpy()[numbers], rtol=1e-14, atol=1e-16)


def test_dense_gradients() -> None:
    rng = np.random.default_rng(5)
    x_rows, y_rows = Rows(4, 7, 8, F64), Rows(4, 3, 8, F64)
    weights = DenseWeights(3, x_rows, 8, F64)
    forward = specs.DenseForward(x_rows, weights, y_rows, True, Activation())
    x, w, b, dy = (rng.normal(size=size) for size in ((4, 7), (3, 7), 3, (4, 3)))
    (dx,) = ops.run(specs.DenseBackwardInput(y_rows, weights, x_rows), dy, w)
    step = specs.Update("sgd", F64, 8, weights.size_bytes // 64)
    update = specs.DenseBackwardWeightsStep(x_rows, y_rows, weights, True, step, ())
    (dw, db), (new_w, new_b), _ = ops.run(update, x, dy, (w, b), [], np.array([0.25, 0, 0]))
    stored = ops.run(specs.DenseBackwardWeights(x_rows, y_rows, weights, True), x, dy)
    np.testing.assert_array_equal(stored[0], dw)
    np.testing.assert_array_equal(stored[1], db)
    assert ops.run(specs.DenseBackwardWeights(x_rows, y_rows, weights, False), x, dy)[1] is None
    np.testing.assert_allclose(new_w, w - 0.25 * dw)
    np.testing.assert_allclose(new_b, b - 0.25 * db)
    assert_gradient(lambda v: (dy * ops.run(forward, v, w, b)[0]).sum(), x, dx)
    assert_gradient(lambda v: (dy * ops.run(forward, x, v, b)[0]).sum(), w, dw)
    assert_gradient(lambda v: (dy * ops.run(forward, x, w, v)[0]).sum(), b, db)


WEIGHTS = (1.0, 0.5, 3.0, 0.25)
#: Losses with constants that are not the usual ones.
CONSTANTS = {
    "huber": ("huber", {"delta": 0.7}),
    "smoothed": ("softmax_ce", {"label_smoothing": 0.2}),
    "weighted": ("softmax_ce", {"class_weights": WEIGHTS}),
    "weighted_smoothed": ("softmax_ce", {"label_smoothing": 0.2, "class_weights": WEIGHTS}),
}


def _loss(kind, z):
    kind, constants = CONSTANTS.get(kind, (kind, {}))
    return specs.Loss(kind, z, **constants)


LOSSES = [
    ("softmax_ce", 4),
    *((kind, 4) for kind in ("smoothed", "weighted", "weighted_smoothed")),
    ("bce", 1),
    ("bce", 3),
    *((kind, n) for kind in ("mse", "mae", "huber") for n in (1, 3)),
]


@pytest.mark.parametrize(("kind", "outputs"), LOSSES)
@pytest.mark.parametrize("present", [5, 3])
def test_loss_gradients_and_absent_samples(kind: str, outputs: int, present: int) -> None:
    rng = np.random.default_rng(6)
    spec = _loss(kind, Rows(5, outputs, 8, F64))
    z, labels = rng.normal(size=(5, outputs)), rng.integers(0, max(outputs, 2), 5)
    dz, losses, preds = ops.run(spec, z, labels, present)
    assert_gradient(lambda v: ops.run(spec, v, labels, present)[1].sum() / present, z, dz)
    assert not dz[present:].any()
    assert not losses[present:].any()
    assert not preds[present:].any()


@pytest.mark.parametrize(("kind", "outputs"), LOSSES)
def test_losses_are_pytorchs(kind: str, outputs: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    z, labels = rng.normal(size=(6, outputs)) * 20, rng.integers(0, max(outputs, 2), 6)
    one_hot = labels[:, None].astype(float) if outputs == 1 else np.eye(outputs)[labels]
    target = torch.tensor(one_hot if kind in ("bce", "mse", "mae", "huber") else labels)
    criterion = {
        "softmax_ce": torch.nn.CrossEntropyLoss,
        "smoothed": partial(torch.nn.CrossEntropyLoss, label_smoothing=0.2),
        "weighted": partial(torch.nn.CrossEntropyLoss, torch.tensor(WEIGHTS, dtype=torch.float64)),
        "weighted_smoothed": partial(
            torch.nn.CrossEntropyLoss, torch.tensor(WEIGHTS, dtype=torch.float64), label_smoothing=0.2
        ),
        "bce": torch.nn.BCEWithLogitsLoss,
        "mse": torch.nn.MSELoss,
        "mae": torch.nn.L1Loss,
        "huber": partial(torch.nn.HuberLoss, delta=0.7),
    }[kind]()
    logits = torch.tensor(z, requires_grad=True)
    value = criterion(logits, target)
    value.backward()
    dz, losses, _ = ops.run(_loss(kind, Rows(6, outputs, 8, F64)), z, labels, 6)
    assert losses.mean() == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(dz, logits.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_optimizers_are_pytorchs(kind: str) -> None:
    torch = pytest.importorskip("torch")
    lr, decay, momentum, betas, eps = 0.05, 0.01, 0.9, (0.9, 0.999), 1e-7
    rng = np.random.default_rng(8)
    params, gradients = rng.normal(size=8), rng.normal(size=(4, 8))
    spec = specs.Update(kind, F64, 8, 1, momentum, *betas, eps, decay)
    parameter = torch.nn.Parameter(torch.tensor(params))
    if kind in ("adam", "adamw"):
        maker = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        optimizer = maker([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(
            [parameter],
            lr=lr,
            momentum=0 if kind == "sgd" else momentum,
            nesterov=kind == "nesterov",
            weight_decay=decay,
        )
    states = np.zeros((spec.n_states, 8))
    for t, gradient in enumerate(gradients, 1):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        hyper = np.array([lr, lr / (1 - betas[0] ** t), 1 / np.sqrt(1 - betas[1] ** t)])
        params, states = ops.run(spec, params, gradient, states, hyper)
    np.testing.assert_allclose(params, parameter.detach().numpy(), rtol=1e-12)


def test_load_input_is_affine_per_channel() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    spec = specs.LoadInput(2, 2, 2, Rows(2, 8, 8, F64), (0.5, 2.0), (1.0, 0.0))
    (dst,) = ops.run(spec, images, np.array([2, 0], np.uint32))
    assert dst.tolist() == [[9, 9.5, 10, 10.5, 40, 42, 44, 46], [1, 1.5, 2, 2.5, 8, 10, 12, 14]]
