"""The documents say what the code does: files, links, commands, options, variables, and the tables that list code."""

from __future__ import annotations

import inspect
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import asmgen
from asmgen.bench import replay
from asmgen.bench.gpu import check as gpu_check
from asmgen.bench.gpu import speed as gpu_speed
from asmgen.cli.main import COMMANDS, main
from asmgen.cuda import registry as cuda_registry
from asmgen.errors import ModelError
from asmgen.kernels import registry
from asmgen.model.load import load_model
from asmgen.model.options import OneOf
from asmgen.plan.specs import KernelSpec
from tests.kernels.support import every_spec

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("benchmarks.md",)
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "generated" / "README.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in GENERATED),
]
COLUMNS = 120
TOP = r"asmgen|runtime|templates|tests|scripts|docs|models|generated/showcase|\.ci"
OF_OTHERS = {  # programs that the documents call, and their options
    "--build-arg", "--rm", "--system-site-packages", "--index-url", "--update-golden", "--networks", "--update-shares",
}  # fmt: skip
CODE = re.compile(r"```\w*\n(.*?)```|^((?: {4}\S.*\n)+)|`([^`\n]+)`", re.DOTALL | re.MULTILINE)

document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code_lines(path: Path) -> Iterator[str]:
    """Lines of code blocks, and code in the text."""
    for found in CODE.finditer(path.read_text()):
        yield from next(filter(None, found.groups())).splitlines()


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@cache
def command(name: str) -> click.Command:
    module, attribute, _ = COMMANDS[name]
    found = getattr(import_module(module), attribute)
    assert isinstance(found, click.Command)
    return found


def options_of(found: click.Command) -> set[str]:
    names = {option for parameter in found.params for option in parameter.opts if option.startswith("-")}
    return names | {"-h", "--help"}


def trainer_options() -> set[str]:
    return set(re.findall(r'OPTION +"(--?[\w-]+)"', (ROOT / "runtime" / "args.asm").read_text()))


def model_options(path: Path) -> dict[str, object]:
    """The parameters of a model file's function, with their defaults."""
    parameters = inspect.signature(runpy.run_path(str(path))["model"]).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


@document
def test_paths_exist(path: Path) -> None:
    missing = []
    for name in re.findall(rf"(?<![\w/.>-])(?:{TOP})/[\w./*-]*", path.read_text()):
        plain = name.rstrip(".")
        if not plain.endswith(".tune.json") and not any(ROOT.glob(plain.rstrip("/"))):
            missing.append(plain)
    assert not missing


@document
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        leads_to = (path.parent / file).resolve() if file else path
        if not leads_to.exists():
            wrong.append(target)
        elif anchor:
            titles = re.findall(r"^#+ (.*)$", leads_to.read_text(), re.MULTILINE)
            if anchor not in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}:
                wrong.append(target)
    assert not wrong


@document
def test_commands_have_the_options(path: Path) -> None:
    for line in code_lines(path):
        found = re.match(r"(?:\$ )?(?:\.venv/bin/)?asmgen ((?:[\w.-]|\\\|)+)(.*)", line)
        if not found or found[1].startswith("-"):
            continue
        assert found[1] in COMMANDS, line
        words = shlex.split(re.split(r" {2,}|#", found[2])[0])
        called = command(found[1])
        known = options_of(called)
        if isinstance(called, click.Group) and words:
            for name in re.split(r"\\?\|", words[0]):
                assert name in called.commands, line
                known |= options_of(called.commands[name])
        wrong = [word for word in words if word.startswith("-") and word.split("=")[0] not in known]
        assert not wrong, line


@document
def test_settings_are_options_of_models(path: Path) -> None:
    known = {name for model in (ROOT / "models").glob("*.py") for name in model_options(model)}
    known.add("hidden")  # of the example in models.md
    assert set(re.findall(r"--set (\w+)=", path.read_text())) <= known


@document
def test_options_are_somebodys(path: Path) -> None:
    known = OF_OTHERS | options_of(main) | options_of(gpu_check.main) | options_of(replay.main) | trainer_options()
    for name in COMMANDS:
        found = command(name)
        known |= options_of(found)
        for each in found.commands.values() if isinstance(found, click.Group) else ():
            known |= options_of(each)
    used = {option for line in code_lines(path) for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", line)}
    assert used <= known


@document
def test_make_targets_and_modules_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code_lines(path):
        assert set(re.findall(r"^(?:\$ )?make ([a-z]+)", line)) <= targets, line
        for module in re.findall(r"python3? -m (asmgen[\w.]*)", line):
            assert find_spec(module), line


@document
def test_nothing_of_the_machine_it_was_written_on(path: Path) -> None:
    assert not re.search(r"(?<!\w)/(?:work|tmp|root|home)\b", path.read_text())


def test_the_abi_table_has_every_spec() -> None:
    table = text_of("architecture.md").partition("## Kernel ABI")[2].partition("\n## ")[0]
    specs = re.findall(r"^\| [^|]*\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(specs) == sorted(spec.__name__ for spec in registry._EMITTERS.keys() | cuda_registry.OPS)


def test_the_abi_table_has_every_op() -> None:
    table = text_of("architecture.md").partition("## Kernel ABI")[2].partition("\n## ")[0]
    rows = {spec: ops for ops, spec in re.findall(r"^\| ([^|]*) \| `(\w+)` \|", table, re.MULTILINE)}
    for spec in (*every_spec("avx2", "float32"), *every_spec("avx512", "float64")):
        names = re.findall(r"`([\w<>]+)`", rows[type(spec).__name__])
        assert any(re.fullmatch(re.sub(r"<\w+>", r"\\w+?", name), spec.op) for name in names), spec.op


def test_a_kernels_file_has_its_ops_name_or_is_listed() -> None:
    rows = re.findall(r"^\| ([^|]*) \| `(\w+)` \| `(\w+/\w+)\.py` \|$", text_of("glossary.md"), re.MULTILINE)
    listed = {(op, spec): file for ops, spec, file in rows for op in re.findall(r"`(\w+)`", ops)}
    found = {}
    for spec in (*every_spec("avx2", "float32"), *every_spec("avx512", "float64")):
        *_, family, name = registry._EMITTERS[type(spec)].__module__.split(".")
        if not spec.op.startswith(name):
            found[spec.op, type(spec).__name__] = f"{family}/{name}"
        assert type(spec) not in cuda_registry.OPS or spec.op.startswith(_cuda_file(type(spec)))
    assert found.items() <= listed.items()
    assert {spec for _, spec in listed} == {spec for _, spec in found}


def _cuda_file(kind: type[KernelSpec]) -> str:
    """The name of the file of a spec's CUDA kernel."""
    emitters = {**cuda_registry._STREAMING, **cuda_registry._PRODUCTS}
    return emitters[kind].__module__.rpartition(".")[2]


def test_every_runtime_file_is_listed() -> None:
    section = text_of("runtime.md").partition("## How it works")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(?:cpu/)?(\w+)`", row)}
    runtime = ROOT / "runtime"
    assert listed == {path.stem for path in (*runtime.glob("*.asm"), *runtime.glob("cpu/*.asm"))}
    included = {path.name for path in (*runtime.glob("*.inc"), *runtime.glob("cpu/*.inc"))}
    assert set(re.findall(r"`(\w+\.inc)`", section)) == included


def test_the_trainers_options_are_listed() -> None:
    table = text_of("runtime.md").partition("## Running a trainer")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE))
    usage = set(re.findall(r"\[(--[\w-]+)", table))
    assert listed | {"--help"} == usage == trainer_options() - {"-h"}


def test_environment_variables_are_listed() -> None:
    listed = set(re.findall(r"\bASMGEN_[A-Z_]+\b", text_of("setup.md").partition("## Environment variables")[2]))
    reads = re.compile(r"""(?:environ(?:\.get)?[(\[]|getenv\(|^variable: +db )["'](ASMGEN_\w+)""", re.MULTILINE)
    sources = [*ROOT.glob("asmgen/**/*.py"), *ROOT.glob("tests/conftest.py"), *ROOT.glob("runtime/**/*.*")]
    assert listed == {name for source in sources for name in reads.findall(source.read_text())}


def test_the_readme_has_every_command_and_document() -> None:
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^\| `asmgen (\w+)", readme, re.MULTILINE)) == COMMANDS.keys()
    assert set(re.findall(r"\(docs/(\w+\.md)\)", readme)) == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_language_is_documented() -> None:
    text = text_of("models.md")
    assert [name for name in asmgen.__all__ if not re.search(rf"\b{name}\b", text) and name != "__version__"] == []


def test_the_shipped_models_are_listed_with_their_options() -> None:
    table = text_of("models.md").partition("## Shipped models")[2]
    listed = dict(re.findall(r"^\| `(\w+\.py)` .*\| `([^`]*)` \|$", table, re.MULTILINE))
    found = {}
    for path in (ROOT / "models").glob("*.py"):
        words = (
            f"{name}={'|'.join(default.choices)}" if isinstance(default, OneOf) else name
            for name, default in model_options(path).items()
        )
        found[path.name] = " ".join(words)
    assert {name: options.replace("\\|", "|") for name, options in listed.items()} == found


def test_the_stages_and_goals_of_a_gpu_are_listed() -> None:
    text = text_of("gpu.md")
    stages = re.findall(r"^\| `(\w+)` \| (\d+) s \|", text, re.MULTILINE)
    assert {name: int(end) for name, end in stages} == gpu_check.STAGES
    goals = re.findall(r"^\| (\w+) \| ([\d.]*) \| ([\d.]*) \| ([\d.]+) \|$", text, re.MULTILINE)
    least = {best for *_, best in goals}
    assert {float(best) for best in least} == {gpu_speed.LEAST_OF_BEST}
    listed = {name: {"eager": float(eager), "graph": float(graph)} for name, eager, graph, _ in goals if eager}
    assert listed == gpu_speed.GOALS


def test_names_of_device_code_are_listed() -> None:
    section = text_of("cuda.md").partition("### Names in device.cuh")[2].partition("\n## ")[0]
    for header in ("hardware.cuh", "warp.cuh", "vectors.cuh"):
        text = (ROOT / "runtime" / "cuda" / header).read_text()
        names = re.findall(r"^__device__ __forceinline__ [^(\n]*?(\w+)\(", text, re.MULTILINE)
        assert names
        for name in names:
            if name != "shared_address":  # of the header alone
                assert re.search(rf"\b{name}\b", section), f"{header}: {name}"


def test_the_error_shown_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = re.search(r"asmgen build (\S+) --set (\w+)=(\w+)\nasmgen: error: (.*)\n", text_of("models.md"))
    assert found
    with pytest.raises(ModelError, match=f"^{re.escape(found[4])}$"):
        load_model(found[1], {found[2]: found[3]})


@document
def test_lines_of_prose_fit(path: Path) -> None:
    """At most 120 columns, but for tables and code."""
    if path.name == "benchmarks.md":  # made by `make bench`
        return
    is_code, long = False, []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        is_code ^= line.lstrip().startswith("```")
        is_table = line.lstrip().startswith("|")
        if len(line) > COLUMNS and not is_code and not is_table and not line.startswith("    "):
            long.append(number)
    assert not long


@pytest.mark.parametrize("folder", ["runtime", "templates"])
def test_lines_of_code_fit(folder: str) -> None:
    """At most 120 columns in every line that ruff does not see."""
    paths = [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    assert paths
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > COLUMNS
    ]
    assert not long
