"""The whole CUDA trainer, its kernels and its device emulated, beside the CPU trainer of the same model."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from asmgen.data.idx import read_idx, write_idx
from asmgen.toolchain.cuda_build import build_cuda_trainer
from asmgen.toolchain.nvcc import find_nvcc
from tests.cuda.trainers import BY_LAUNCHES, Pair, build_pair, models, run

MODELS = models()
#: (model, environment): as a user gets it, and the dense ones by launches too.
WAYS = [(name, {}) for name in MODELS] + [(name, BY_LAUNCHES) for name in MODELS if name != "convolutions"]
STEPS = 20
LOSS_TOLERANCE = 1e-4  # relative, over STEPS steps in float32


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory):
    """pairs(name) -> both trainers of a model, each built once."""
    for tool in ("nasm", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers of this run
    return lambda name: build_pair(MODELS[name], folder / "cuda-trainers" / name)


@pytest.fixture
def pair(pairs) -> Pair:
    return pairs("perceptron")


def rows(path: Path) -> list[dict[str, float]]:
    """The log without what is measured."""
    with path.open() as file:
        return [
            {
                key: float(value)
                for key, value in row.items()
                if key not in ("seconds", "samples_per_s", "evaluated_per_s", "device_seconds")
            }
            for row in csv.DictReader(file)
        ]


def timeless(report: str) -> str:
    """A report without speeds, and without what names the machine."""
    first, *rest = re.sub(r"  (evaluation )?\d+ samples/s", "", report).splitlines()
    return "\n".join([first.split("  sse41")[0].split("  cuda")[0], *rest])


@pytest.mark.parametrize(("name", "environment"), WAYS)
def test_the_loss_curve_is_the_cpu_trainers(name: str, environment: dict[str, str], pairs, tmp_path: Path) -> None:
    """An epoch of one batch is one step; what it prints is that step's loss."""
    pair = pairs(name)
    curves = []
    for kind, trainer in (("cpu", pair.cpu), ("cuda", pair.cuda)):
        log = tmp_path / f"{kind}.csv"
        done = run(trainer, pair.data, "--epochs", STEPS, "--batch-limit", 1, "--log", log, **environment)
        assert done.returncode == 0, done.stderr
        curves.append(rows(log))
    cpu, cuda = curves
    assert len(cuda) == STEPS
    assert [row["lr"] for row in cuda] == [row["lr"] for row in cpu]
    for ours, theirs in zip(cuda, cpu, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=LOSS_TOLERANCE)


@pytest.mark.parametrize(("name", "environment"), WAYS)
def test_whole_epochs_report_what_the_cpu_trainer_does(
    name: str, environment: dict[str, str], pairs, tmp_path: Path
) -> None:
    """Incomplete batches, validation splits, decay of the learning rate, the classes' accuracies."""
    pair = pairs(name)
    reports = []
    for kind, trainer in (("cpu", pair.cpu), ("cuda", pair.cuda)):
        done = run(trainer, pair.data, "--log", tmp_path / f"{kind}.csv", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        reports.append(timeless(done.stdout))
    assert reports[0] == reports[1]
    is_resident = name != "convolutions" and not environment
    assert re.search(rf"device emulated GPU{', resident training' * is_resident}$", done.stdout, re.MULTILINE)
    cpu, cuda = rows(tmp_path / "cpu.csv"), rows(tmp_path / "cuda.csv")
    assert cuda == [pytest.approx(row, rel=LOSS_TOLERANCE) for row in cpu]


@pytest.mark.parametrize("name", MODELS)
def test_images_of_every_rank(name: str, pairs, tmp_path: Path) -> None:
    """Leading ones of the images are free, the reports and the weights are the same; a wrong extent has its line."""
    pair = pairs(name)
    images = {split: read_idx(pair.data / f"{split}-images-idx4-ubyte") for split in ("train", "test")}
    bare = tuple(itertools.dropwhile(lambda extent: extent == 1, pair.model.input))
    for kind, trainer in (("cpu", pair.cpu), ("cuda", pair.cuda)):
        whole = run(trainer, pair.data, "--save", tmp_path / "whole")
        for rank in range(1 + len(bare), 6):
            folder = tmp_path / f"{kind}{rank}"
            folder.mkdir()
            for split, array in images.items():
                shape = (len(array), *(1,) * (rank - 1 - len(bare)), *bare)
                write_idx(folder / f"{split}-images-idx{rank}-ubyte", array.reshape(shape))
                shutil.copy(pair.data / f"{split}-labels-idx1-ubyte", folder)
            done = run(trainer, folder, "--save", tmp_path / "w")
            assert (done.returncode, done.stderr) == (0, "")
            assert timeless(done.stdout) == timeless(whole.stdout)
            assert (tmp_path / "w").read_bytes() == (tmp_path / "whole").read_bytes()
        write_idx(folder / "train-images-idx5-ubyte", images["train"].reshape(len(images["train"]), -1, 1, 1, 1))
        failed = run(trainer, folder)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith(
            f"trainer: {folder}/train-images-idx5-ubyte has shape [{len(images['train'])}, "
        )
        assert f"takes [n, {', '.join(map(str, pair.model.input))}] " in failed.stderr


def test_first_weights_are_the_same_bytes(pairs, tmp_path: Path) -> None:
    for name in MODELS:
        pair = pairs(name)
        for kind, trainer in (("cpu", pair.cpu), ("cuda", pair.cuda)):
            assert run(trainer, pair.data, "--epochs", 0, "--seed", 9, "--save", tmp_path / kind).returncode == 0
        assert (tmp_path / "cpu").read_bytes() == (tmp_path / "cuda").read_bytes()


@pytest.mark.parametrize("environment", [{}, BY_LAUNCHES])
def test_two_runs_give_the_same_bits(environment: dict[str, str], pair: Pair, tmp_path: Path) -> None:
    for seed in "1", "2":  # of the order in which blocks and threads run
        done = run(pair.cuda, pair.data, "--save", tmp_path / seed, ASMGEN_EMULATION_SEED=seed, **environment)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("name", ["convolutions", "perceptron"])
def test_checkpoints_go_both_ways(name: str, pairs, tmp_path: Path) -> None:
    """Trained here, tested there; and --eval of what was just saved gives the same last line."""
    pair = pairs(name)
    for first, second in ((pair.cpu, pair.cuda), (pair.cuda, pair.cpu)):
        trained = run(first, pair.data, "--save", tmp_path / "w")
        for trainer in (first, second):
            tested = run(
                trainer, pair.data, "--eval", "--load", tmp_path / "w", "--save", tmp_path / "again", "--quiet"
            )
            assert tested.stdout == trained.stdout.splitlines()[-1] + "\n"
            assert (tmp_path / "again").read_bytes() == (tmp_path / "w").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_epoch_and_saves(number: signal.Signals, pair: Pair, tmp_path: Path) -> None:
    saved = tmp_path / "w"
    command = [pair.cuda, "--data", pair.data, "--epochs", "1000000", "--save", saved]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert re.fullmatch(rf"trainer: stopped by signal {number} .*; the weights are in {saved}\n", said)
    assert run(pair.cpu, pair.data, "--load", saved, "--eval").returncode == 0


@pytest.mark.parametrize("lr", ["1e3", "1e6"])
def test_divergence_is_reported_as_on_the_cpu(lr: str, pairs) -> None:
    """In training, or in the evaluation behind it; a sum may be infinite on one side and not a number on the other."""
    pair = pairs("squares")
    answers = [run(trainer, pair.data, "--lr", lr, "--epochs=30") for trainer in (pair.cpu, pair.cuda)]
    assert [answer.returncode for answer in answers] == [1, 1]
    cpu, cuda = (re.sub(r"is \S+ ", "is X ", answer.stderr) for answer in answers)
    assert cuda == cpu
    assert "training diverged" in cuda or "among" in cuda


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("no_driver", 3, "there is no NVIDIA driver"),
        ("old_driver", 3, "the NVIDIA driver is made for CUDA 12.4, this trainer for 13.0"),
        ("no_device", 3, "sees no GPU"),
        ("old_device", 3, r"has compute capability 7\.0, the kernels .* need 8\.0 or later; a CPU .* --isa native$"),
        ("sm_80", 3, r"capability 8\.0, this trainer was built for 8\.6 and later; build it with --arch sm_80$"),
        ("busy_device", 1, r"CUDA: starting the GPU: .* \(cudaErrorDevicesUnavailable\)"),
        ("no_kernel", 3, r"was not compiled for this device; build it with --arch sm_90$"),
        ("old_ptx", 3, r"was not compiled for this device; build it with --arch sm_90$"),
        ("no_memory", 1, r"perceptron needs 0\.\d MB .* emulated GPU, with \S+ MB in all, has not even enough"),
        ("full_memory", 1, r"perceptron needs 0\.\d MB .* has \S+ MB free"),
        ("refused_launch", 1, r"CUDA: \w+: .* \(cudaErrorInvalidClusterSize\)"),
        ("broken_kernel", 1, r"CUDA: .*: kernel \w+, asked to fail \(cudaErrorLaunchFailure\)"),
    ],
)
def test_failures_of_the_device_are_one_line(fault: str, code: int, words: str, pair: Pair, tmp_path: Path) -> None:
    done = run(pair.cuda, pair.data, "--save", tmp_path / "w", ASMGEN_EMULATION_FAULT=fault)
    assert done.returncode == code
    assert re.search(words, done.stderr)
    assert re.fullmatch(r"trainer: .*\n", done.stderr)
    assert not list(tmp_path.iterdir())


def test_too_little_memory_says_what_was_needed(pair: Pair) -> None:
    done = run(pair.cuda, pair.data, ASMGEN_EMULATION_MEMORY="10000")
    assert done.returncode == 1
    message = r"trainer: perceptron needs 0\.\d MB of the device's memory, .* images, but emulated GPU has .* free.*\n"
    assert re.fullmatch(message, done.stderr), done.stderr


def test_a_kernel_that_fails_in_the_middle_ends_the_training(pair: Pair, tmp_path: Path) -> None:
    """All calls fail from then on. Epochs that were reported stay; an older checkpoint is not replaced."""
    saved, log = tmp_path / "w", tmp_path / "log.csv"
    saved.write_bytes(b"older")
    options = ["--epochs", 1000, "--save", saved, "--log", log]
    done = run(pair.cuda, pair.data, *options, ASMGEN_EMULATION_FAULT="broken_kernel@300")
    assert done.returncode == 1
    assert re.fullmatch(r"trainer: CUDA: .*: kernel \w+, asked to fail \(cudaErrorLaunchFailure\)\n", done.stderr)
    assert saved.read_bytes() == b"older"
    assert 1 <= len(rows(log)) == done.stdout.count("\nepoch ") < 1000


def test_the_log_has_the_devices_time(pair: Pair, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    assert run(pair.cuda, pair.data, "--log", log).returncode == 0
    with log.open() as file:
        for row in csv.DictReader(file):
            assert 0 < float(row["device_seconds"]) <= float(row["seconds"])


def test_help_and_wrong_usage_need_no_device(pair: Pair) -> None:
    shown = run(pair.cuda, pair.data, "--help", ASMGEN_EMULATION_FAULT="no_driver")
    assert shown.returncode == 0
    assert "--threads N        not used" in shown.stdout
    wrong = run(pair.cuda, pair.data, "--epochs", "many", ASMGEN_EMULATION_FAULT="no_driver")
    assert wrong.returncode == 2


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")
def test_nvcc_makes_the_same_trainer(pair: Pair) -> None:
    """It trains where there is a GPU, and says that there is none elsewhere."""
    trainer = build_cuda_trainer(pair.cuda.parent, ("sm_80", "sm_90"))
    done = run(trainer, pair.data)
    if Path("/proc/driver/nvidia/version").exists():
        assert timeless(done.stdout) == timeless(run(pair.cpu, pair.data).stdout)
    else:
        assert done.returncode == 3
        assert re.fullmatch(r"trainer: there is no NVIDIA driver, .* --isa native\n", done.stderr)
