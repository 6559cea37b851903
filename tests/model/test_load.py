"""Model files: options, errors with file:line, initial values from files."""

import ast
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asmgen import Adam, AvgPool2D, Model, OneOf
from asmgen.errors import ModelError, UsageError
from asmgen.model.load import load_model
from asmgen.model.params import read_initial
from asmgen.model.trace import parameters_of

MODELS = Path(__file__).parents[2] / "models"
DOCUMENT = MODELS.parent / "docs" / "models.md"
HEAD = "from asmgen import *\n"
REST = "loss=SoftmaxCrossEntropy(), optimizer=SGD(0.1), data=Dataset('d'))\n"


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    """Writes `models/m.py` in a fresh current directory and returns the path as a user would type it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()

    def write(text):
        (tmp_path / "models" / "m.py").write_text(HEAD + text)
        return "models/m.py"

    return write


def build(layers, parameters=""):
    return f"def model({parameters}):\n    return Model(name='m', input=(1, 4, 4), layers=[{layers}], {REST}"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.py")), ids=lambda path: path.stem)
def test_shipped_models_load_and_import_only_asmgen(path):
    assert load_model(path).name == path.stem
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [getattr(node, "module", None) for node in imports] == ["asmgen"]


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.py")), ids=lambda path: path.stem)
def test_the_document_lists_every_option_of_a_shipped_model(path):
    (row,) = re.findall(rf"^\| `{path.name}` .*\| `(.*)` \|$", DOCUMENT.read_text(), re.MULTILINE)
    parameters = inspect.signature(runpy.run_path(path)["model"]).parameters.values()
    options = (
        f"{p.name}={'|'.join(p.default.choices)}" if isinstance(p.default, OneOf) else p.name for p in parameters
    )
    assert row.replace("\\|", "|") == " ".join(options)


def test_options_take_the_type_of_their_default():
    model = load_model(MODELS / "catdog.py", {"size": "64", "channels": "1", "lr": "1e-3"})
    assert (model.input, model.optimizer.lr, model.layers[-1].units) == ((1, 64, 64), 0.001, 1)
    assert load_model(MODELS / "mnist_mlp.py").optimizer == Adam(0.0005, eps=1e-7, lr_decay=0.97)
    assert load_model(MODELS / "mnist_mlp.py", {"optimizer": "sgd"}).optimizer.lr == 0.005
    assert isinstance(load_model(MODELS / "lenet.py", {"pool": "avg"}).layers[2], AvgPool2D)


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ("n=4, bias=True", {"N": "8"}, r"^models/m\.py: no option 'N' to set; its options are n=4, bias=True$"),
        ("", {"size": "8"}, r"no option 'size' to set; it has no options$"),
        ("size=4", {"size": "big"}, r"^models/m\.py: --set size=big: must be a whole number$"),
        ("lr=0.1", {"lr": "fast"}, r"--set lr=fast: must be a number$"),
        ("bias=True", {"bias": "maybe"}, r"--set bias=maybe: must be true or false$"),
        ("pool=OneOf('max', 'avg')", {"pool": "min"}, r"--set pool=min: must be one of max, avg$"),
        ("pool=OneOf('max', 'avg')", {"x": "1"}, r"its options are pool=max\|avg$"),
        ("size", {}, r"^models/m\.py: needs --set size=\.\.\.; its options are size=\.\.\.$"),
    ],
)
def test_a_wrong_option_is_a_usage_error(model_file, parameters, options, message):
    path = model_file(build("Flatten(), Dense(2)", parameters))
    with pytest.raises(UsageError, match=message):
        load_model(path, options)


def test_options_without_a_default_are_read_as_what_they_look_like(model_file):
    text = "def model(units, **more):\n    assert more == {'a': 1.5, 'b': 'x'}, more\n    return Model(name='m', "
    path = model_file(text + f"input=(1, 4, 4), layers=[Flatten(), Dense(units)], {REST}")
    assert load_model(path, {"units": "3", "a": "1.5", "b": "x"}).layers[1].units == 3


def test_a_flag_is_read_as_true_or_false(model_file):
    path = model_file(build("Flatten(), Dense(2, bias=bias)", "bias=True"))
    assert [load_model(path, {"bias": text}).layers[1].bias for text in ("no", "True", "0")] == [False, True, False]


def test_a_plain_model_has_no_options(model_file):
    path = model_file(f"model = Model(name='m', input=(1, 4, 4), layers=[Flatten(), Dense(2)], {REST}")
    assert isinstance(load_model(path), Model)
    with pytest.raises(UsageError, match=r"^models/m\.py: has no options to set"):
        load_model(path, {"size": "8"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = Modell(\n", r"^models/m\.py:2: syntax error: '\(' was never closed$"),
        ("a = 1\nmodel = missing\n", r"^models/m\.py:3: NameError: name 'missing' is not defined$"),
        ("def model():\n    return Dense()\n", r"^models/m\.py:3: TypeError: .*missing 1 required .*'units'$"),
        ("def model():\n    raise ValueError('two\\nlines')\n", r"^models/m\.py:3: ValueError: two lines$"),
        ("raise SystemExit(3)\n", r"^models/m\.py:2: SystemExit: 3$"),
        ("\0", r"^models/m\.py: (not a Python file|syntax error): source code .*null bytes$"),
        ("net = 1\n", r"^models/m\.py: defines no `model`; write model = Model\(\.\.\.\) or a function"),
        ("model = 3\n", r"^models/m\.py: `model` is int, not a Model\(\.\.\.\)$"),
        ("model = Model\n", r"^models/m\.py: `model` is the class Model, not a Model\(\.\.\.\)$"),
        ("def model():\n    return 3\n", r"^models/m\.py: model\(\) returns int, not a Model\(\.\.\.\)$"),
        ("def model():\n    pass\n", r"^models/m\.py: model\(\) returns None, not a Model\(\.\.\.\)$"),
        (build("Flatten(),\n Conv2D(4, 3)"), r"^models/m\.py:4: conv1: its input is a vector of 16"),
        (build("Flatten(),\n Dense(0)"), r"^models/m\.py:4: Dense: units=0 must lie in"),
    ],
)
def test_a_failing_model_file_names_the_line(model_file, text, message):
    path = model_file(text)
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_a_missing_file_is_a_usage_error(model_file):
    with pytest.raises(UsageError, match=r"^nope\.py: cannot read the model file: no such file or directory$"):
        load_model("nope.py")
    model_file("")
    with pytest.raises(UsageError, match="is a directory"):
        load_model("models")


def test_a_model_file_says_that_a_default_is_one_of_several():
    assert (OneOf("a", "b"), OneOf("a", "b").choices) == ("a", ("a", "b"))


def save_safetensors(path, **tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        span = [offset, offset := offset + values.nbytes]
        dtype = {"float32": "F32", "float64": "F64", "int64": "I64"}[str(values.dtype)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": span}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(values.tobytes() for values in tensors.values()))


def test_parameters_start_from_files_beside_the_model(model_file, tmp_path):
    weight, bias = np.arange(32, dtype=np.float32).reshape(2, 16), np.array([0.5, -0.5])
    np.save(tmp_path / "models" / "bias.npy", bias)
    save_safetensors(tmp_path / "models" / "w.safetensors", **{"0.weight": -weight, "1.weight": weight})
    path = model_file(build("Flatten(), Dense(2, init=FromFile('w.safetensors'), bias_init=FromFile('bias.npy'))"))
    values = [read_initial(p) for p in parameters_of(load_model(path))]
    np.testing.assert_array_equal(values[0], weight)
    np.testing.assert_array_equal(values[1], bias)
    assert {v.dtype for v in values} == {np.dtype(np.float64)}
    path = model_file(build("Flatten(), Dense(2, init=FromFile('w.safetensors', '0.weight'))"))
    weight_parameter, bias_parameter = parameters_of(load_model(path))
    np.testing.assert_array_equal(read_initial(weight_parameter), -weight)
    assert read_initial(bias_parameter) is None


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("FromFile('absent.npy')", r"dense1: models/absent\.npy: no such file or directory$"),
        ("FromFile('bad_shape.npy')", r"dense1: models/bad_shape\.npy holds 2x15, but 1\.weight is 2x16$"),
        ("FromFile('whole.npy')", r"models/whole\.npy: holds int64; save it as float32 or float64$"),
        ("FromFile('nan.npy')", r"models/nan\.npy holds values that are not finite$"),
        ("FromFile('text.npy')", r"models/text\.npy: not a \.npy file; write it with numpy\.save$"),
        ("FromFile('half.npy')", r"models/half\.npy: cut off, damaged or without numbers; save it again as float32"),
        ("FromFile('objects.npy')", r"models/objects\.npy: cut off, damaged or without numbers; save it again"),
        ("FromFile('good.safetensors', 'x')", r"models/good\.safetensors: has no tensor 'x'; it has 1\.weight, ints$"),
        ("FromFile('good.safetensors', 'ints')", r"ints is I64; save it as F32 or F64$"),
        ("FromFile('cut.safetensors')", r"cut\.safetensors: is cut off, \d+ bytes are missing; copy it again$"),
        ("FromFile('stub.safetensors')", r"not a complete safetensors file \(3 bytes\)$"),
        ("FromFile('garbage.safetensors')", r"its safetensors header cannot be read$"),
        ("FromFile('words.safetensors')", r"its safetensors header cannot be read$"),
        ("FromFile('back.safetensors')", r"1\.weight begins at byte 128 of the data, but ends before that, at byte 0$"),
    ],
)
def test_a_wrong_file_of_initial_values_is_refused(model_file, tmp_path, init, message):
    folder = tmp_path / "models"
    np.save(folder / "bad_shape.npy", np.zeros((2, 15)))
    np.save(folder / "whole.npy", np.zeros((2, 16), dtype=np.int64))
    np.save(folder / "nan.npy", np.full((2, 16), np.nan))
    (folder / "text.npy").write_text("hello")
    (folder / "half.npy").write_bytes((folder / "nan.npy").read_bytes()[:-1])
    np.save(folder / "objects.npy", np.array([None]), allow_pickle=True)
    good = folder / "good.safetensors"
    save_safetensors(good, **{"1.weight": np.zeros((2, 16), np.float32), "ints": np.zeros(2, np.int64)})
    save_safetensors(folder / "cut.safetensors", **{"1.weight": np.zeros((2, 16), np.float32)})
    os.truncate(folder / "cut.safetensors", (folder / "cut.safetensors").stat().st_size - 1)
    (folder / "stub.safetensors").write_bytes(b"abc")
    (folder / "garbage.safetensors").write_bytes((4).to_bytes(8, "little") + b"{{{{")
    (folder / "back.safetensors").write_bytes(good.read_bytes().replace(b"[0, 128]", b"[128, 0]"))
    (folder / "words.safetensors").write_bytes(good.read_bytes().replace(b"[0, 128]", b'["",""]'))
    path = model_file(build(f"Flatten(),\n Dense(2, init={init})"))
    with pytest.raises(ModelError, match=r"^models/m\.py:4: .*" + message):
        load_model(path)


def test_describing_models_needs_no_peachpy():
    code = "import sys, asmgen, asmgen.model.load; sys.exit('peachpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
