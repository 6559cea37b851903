"""A trainer with batch normalisation: its checkpoint in PyTorch and back, any number of threads, the last batch."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asmgen import BatchNorm, Conv2D, Dataset, Dense, Dropout, Flatten, Model, Momentum, ReLU, SoftmaxCrossEntropy
from asmgen.asm.isa import ISAS
from asmgen.bench.parity import draw, write_split
from asmgen.emit.generate import generate
from asmgen.errors import ModelError
from asmgen.model.trace import trace
from asmgen.toolchain.build import build_trainer
from tests.conftest import lacks

SAMPLES = 45


def model_of(batch: int, dtype: str = "float32") -> Model:
    return Model(
        name="norms", input=(2, 9, 8),
        layers=[
            Conv2D(6, 3, bias=False), BatchNorm(), ReLU(), Dropout(0.2),
            Flatten(), Dense(7, bias=False), BatchNorm(scale=False, momentum=None), ReLU(), Dense(3),
        ],
        loss=SoftmaxCrossEntropy(), optimizer=Momentum(lr=0.01), batch_size=batch, dtype=dtype,
        data=Dataset("none", mean=(0.5, 0.4), std=(0.3, 0.2)),
    )  # fmt: skip


def build(model: Model, folder: Path) -> Path:
    isa = next((isa for isa in ISAS.values() if not lacks(isa.name)), None)
    if isa is None:
        pytest.skip("no level of vectors")
    generated = generate(model, isa, folder)
    images, labels = draw(model, SAMPLES)
    for split in ("train", "test"):
        write_split(model, folder, split, images, labels)
    return build_trainer(generated.folder, generated.sources)


def run(trainer: Path, folder: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    command = [str(part) for part in (trainer, "--data", folder, *flags)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_checkpoint_is_pytorchs_and_comes_back(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed (extra [dev])")
    from asmgen.peers.torch_peer import TorchPeer, network_of

    model = model_of(10, dtype)
    trainer, saved = build(model, tmp_path), tmp_path / "a.safetensors"
    done = run(trainer, tmp_path, "--epochs", 3, "--save", saved)
    assert done.returncode == 0, done.stderr
    state = files.load_file(saved)
    assert state["1.num_batches_tracked"].dtype == torch.int64
    assert state["1.num_batches_tracked"] == state["6.num_batches_tracked"] == 3 * 5
    network = network_of(model).to(getattr(torch, dtype))
    assert list(network.state_dict()) == list(state)
    network.load_state_dict(state)
    network.eval()
    images, labels = draw(model, SAMPLES)
    peer = TorchPeer(model, {name: value.detach().numpy() for name, value in network.named_parameters()})
    right = (network(peer.inputs(images)).argmax(1).numpy() == labels).mean()
    assert f"test accuracy {100 * right:.2f}%" in done.stdout

    files.save_file(network.state_dict(), tmp_path / "b.safetensors")
    again = run(trainer, tmp_path, "--eval", "--load", tmp_path / "b.safetensors", "--save", tmp_path / "c.safetensors")
    assert again.returncode == 0, again.stderr
    for name, value in files.load_file(tmp_path / "c.safetensors").items():
        assert np.array_equal(value.numpy(), state[name].numpy()), name


def test_a_count_of_another_type_is_refused(tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed (extra [dev])")
    trainer, saved = build(model_of(10), tmp_path), tmp_path / "a.safetensors"
    assert run(trainer, tmp_path, "--epochs", 1, "--save", saved).returncode == 0
    state = files.load_file(saved)
    state["1.num_batches_tracked"] = state["1.num_batches_tracked"].float()
    files.save_file(state, saved)
    done = run(trainer, tmp_path, "--eval", "--load", saved)
    assert done.returncode == 1
    assert "tensor 1.num_batches_tracked is F32, but norms needs I64" in done.stderr


def test_threads_have_the_same_bits(tmp_path: Path) -> None:
    trainer = build(model_of(10), tmp_path)
    digests = set()
    for threads in (1, 2, 3, 5):
        saved = tmp_path / f"{threads}.safetensors"
        done = run(trainer, tmp_path, "--epochs", 2, "--threads", threads, "--save", saved)
        assert done.returncode == 0, done.stderr
        digests.add(hashlib.sha256(saved.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_last_batch_of_one_sample_is_refused(tmp_path: Path) -> None:
    trainer = build(model_of(SAMPLES - 1), tmp_path)
    done = run(trainer, tmp_path, "--epochs", 1)
    assert done.returncode == 1
    assert "the last batch has 1 sample, BatchNorm needs 2: take another batch_size than 44" in done.stderr
    assert run(trainer, tmp_path, "--epochs", 1, "--batch-limit", 1).returncode == 0


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ModelError, match="batch_size is 1, so each channel has one value"):
        trace(model_of(1))
