"""The program that times PyTorch on a GPU, run where it can be run everywhere: on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"


def test_rows_of_an_image_model():
    pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    command = [sys.executable, "-m", "asmgen.bench.gpu.torch_speed", str(MODELS / "lenet.py"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--steps", "1", "--rounds", "1"], capture_output=True, text=True, check=True, env=environment
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["name"], row["products"]) for row in rows] == [("eager", "float32"), ("channels_last", "float32")]
    assert all(row["wall"] > 0 for row in rows)
