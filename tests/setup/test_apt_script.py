"""scripts/apt.sh with stand-ins for apt-get, sudo and the tools: what it says, what it runs, how it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "apt.sh"
BASH = shutil.which("bash") or "/bin/bash"


@dataclass(frozen=True)
class Machine:
    """A PATH with nothing but stand-ins; `log` lists the apt-get calls."""

    folder: Path

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def add(self, name: str, body: str = "exit 0") -> None:
        program = self.folder / name
        program.write_text(f"#!{BASH}\n{body}\n")
        program.chmod(0o755)

    def add_apt(self, *, fails: str = "-") -> None:
        """An apt-get that logs its arguments and fails where they match the shell pattern `fails`."""
        log = self.folder / "log"
        self.add("apt-get", f'echo "$*" >> {log}; case "$*" in {fails}) echo "E: no route" >&2; exit 100;; esac')

    def run(self, level: str = "base") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder), "PYTHON": str(self.folder / "python3")}
        return subprocess.run([BASH, SCRIPT, level], env=environment, capture_output=True, text=True, timeout=30)


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A root user with a Python that has neither venv nor PeachPy, and no tools."""
    machine = Machine(tmp_path)
    machine.add("id", "echo 0")
    machine.add("env", 'while [[ $1 == *=* ]]; do shift; done; exec "$@"')
    machine.add("python3", "exit 1")
    return machine


def test_nothing_missing_says_and_does_nothing(bare: Machine) -> None:
    for tool in ("nasm", "ld", "python3", "qemu-x86_64"):
        bare.add(tool)
    bare.add_apt()
    done = bare.run("dev")
    assert (done.returncode, done.stdout, done.stderr, bare.log) == (0, "", "", [])


def test_announces_before_it_installs(bare: Machine) -> None:
    bare.add_apt()
    bare.add("nasm")
    done = bare.run()
    assert done.returncode == 0
    update, install = bare.log
    assert update.startswith("update ")
    assert install.endswith("--no-install-recommends binutils python3-venv python3-peachpy")
    assert "binutils is missing: links the trainer (ld)" in done.stderr
    assert "installing with apt:  binutils python3-venv python3-peachpy" in done.stderr


def test_update_failing_is_explained(bare: Machine) -> None:
    bare.add_apt(fails="*")
    done = bare.run()
    assert done.returncode == 1
    assert "apt-get update failed (its words are above)" in done.stderr
    assert "apt-get update failed and the old package lists were not enough" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("apt-get install nasm binutils python3-venv python3-peachpy")


def test_old_lists_serve_when_update_fails(bare: Machine) -> None:
    bare.add_apt(fails="update*")
    done = bare.run()
    assert done.returncode == 0
    assert "going on with the package lists that are already here" in done.stderr


def test_install_failing_is_explained(bare: Machine) -> None:
    bare.add_apt(fails="install*")
    done = bare.run()
    assert done.returncode == 1
    assert "apt-get install failed; its words are above" in done.stderr


def test_optional_package_may_fail(bare: Machine) -> None:
    for tool in ("nasm", "ld", "python3"):
        bare.add(tool)
    bare.add_apt(fails="install*")
    done = bare.run("dev")
    assert done.returncode == 0
    assert "going on without qemu-user: the tests that need it are skipped" in done.stderr


def test_no_apt(bare: Machine) -> None:
    done = bare.run()
    assert done.returncode == 1
    assert "there is no apt-get here" in done.stderr


def test_no_root_and_no_sudo(bare: Machine) -> None:
    bare.add("id", "echo 1000")
    bare.add_apt()
    done = bare.run()
    assert (done.returncode, bare.log) == (1, [])
    assert "installing needs root, and there is no sudo" in done.stderr


def test_uses_sudo_when_not_root(bare: Machine) -> None:
    bare.add("id", "echo 1000")
    bare.add_apt()
    bare.add("sudo", f'echo "sudo $1" >> {bare.folder}/log; exec "$@"')
    done = bare.run()
    assert done.returncode == 0
    assert [line for line in bare.log if line.startswith("sudo")] == ["sudo apt-get", "sudo env"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_pass_shellcheck() -> None:
    scripts = [*SCRIPT.parent.glob("*.sh"), SCRIPT.parents[1] / ".ci" / "run"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stdout
