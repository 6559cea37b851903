"""Interleaving, ratios and the tables made of them."""

from __future__ import annotations

import json

import pytest

from asmgen.bench.compare import Timing, interleave, median_seconds
from asmgen.bench.report import report
from asmgen.bench.suite import Workload, measure_all
from asmgen.bench.tables import Table, duration, number, tables
from asmgen.errors import UsageError


def test_everybody_takes_a_turn_in_every_round():
    calls = []

    def workload(name, seconds):
        def measure():
            calls.append(name)
            return next(seconds)

        return measure

    timings = interleave({"a": workload("a", iter([1.0, 4.0, 2.0])), "b": workload("b", iter([2.0, 2.0, 1.0]))}, 3)
    assert calls == ["a", "b"] * 3
    assert timings["a"].median == 2.0
    assert timings["a"].ratio_to(timings["b"]) == (2.0, 0.5, 2.0)


def test_a_ratio_is_of_rounds_not_of_medians():
    """The machine slows down threefold in the middle: the ratio does not notice."""
    assert Timing("a", (2.0, 6.0, 6.0)).ratio_to(Timing("b", (1.0, 3.0, 3.0))) == (2.0, 2.0, 2.0)


def test_the_first_call_is_not_counted():
    calls = []
    assert median_seconds(lambda: calls.append(0), 0.0) >= 0
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.34, "12.3 s"), (0.0105, "10.5 ms"), (1.2e-6, "1.20 us"), (3e-9, "3.00 ns")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_numbers_have_three_digits():
    assert [number(value) for value in (1.234, 12.34, 123.4, 12345.6)] == ["1.23", "12.3", "123", "12,346"]


def fixed(work, name, kind, seconds, one_thread_only=False):
    return Workload(work, name, kind, lambda threads, _: seconds / threads, one_thread_only)


def result():
    workloads = [
        fixed("step", "asmgen avx2", "asmgen", 2.0),
        fixed("step", "asmgen avx512", "asmgen", 1.0),
        fixed("step", "torch eager", "exact", 9.0),
        fixed("step", "torch channels_last", "exact", 6.0),
        fixed("step", "torch bf16", "bf16", 3.0),
        fixed("step", "plain C", "loops", 90.0, one_thread_only=True),
    ]
    rows, scaling = measure_all(workloads, [2, 1], 2, 0.0, lambda _: None)
    kernel = {
        "layers": "conv1", "op": "conv*", "calls": 2, "seconds": 1e-3, "cycles": 3e6, "predicted_cycles": 2e6,
        "gflops": 500.0, "peak_share": 2.5, "gbytes_per_second": 1.0, "is_effective": True,
        "direct": {"seconds": 2e-3, "gflops": 180.0, "peak_share": 0.9},
    }  # fmt: skip
    return {
        "command": "asmgen bench models/net.py",
        "machine": {"cpu": "A CPU", "cores": 2, "caches": {"L1d": "48K"}, "features": ["avx2"]},
        "versions": {"asmgen": "1", "numpy": "2"},
        "model": {
            "name": "net", "dtype": "float32", "batch": 4, "optimizer": "SGD", "step_macs": 2e6, "heaviest": "dense",
        },
        "rows": [vars(row) for row in rows],
        "scaling": [vars(row) for row in scaling],
        "kernels": [{"isa": "avx2", "peak_gflops": 200.0, "core_ghz": 3.5, "rows": [kernel]}],
    }  # fmt: skip


def test_rows_compare_with_our_fastest_and_mark_the_best_exact_peer():
    rows = {(row["name"], row["threads"]): row for row in result()["rows"]}
    assert len(rows) == 11
    assert rows["asmgen avx512", 2]["is_reference"]
    assert [key for key, row in rows.items() if row["is_best_peer"]] == [
        ("torch channels_last", 1), ("torch channels_last", 2)
    ]  # fmt: skip
    assert rows["torch bf16", 1]["slower"] == 3.0
    assert rows["plain C", 1]["slower"] == 90.0
    assert {row["threads"] for row in result()["scaling"]} == {2}
    assert all(row["faster"] == 2.0 for row in result()["scaling"])


def test_loops_have_one_thread_whatever_is_measured():
    workloads = [
        fixed("step", "asmgen avx2", "asmgen", 2.0),
        fixed("step", "plain C", "loops", 90.0, one_thread_only=True),
        fixed("loops", "asmgen avx2", "asmgen", 1.0, one_thread_only=True),
    ]
    said = []
    rows, _ = measure_all(workloads, [2], 1, 0.0, said.append)
    assert [(row.work, row.name, row.threads) for row in rows] == [
        ("step", "asmgen avx2", 2), ("step", "plain C", 1), ("loops", "asmgen avx2", 1)
    ]  # fmt: skip
    assert "round 1/1: step, plain C, 1 thread" in said
    step, loops, _ = tables(result() | {"rows": [vars(row) for row in rows], "scaling": []})
    assert step.notes == ("plain C: 1 thread, beside asmgen with 2",)
    assert not loops.notes


def test_tables_name_the_level_that_stands_in_for_another():
    missing = [{"isa": "avx512", "lacks": ["avx512bw", "avx512f"], "instead": "avx2"}]
    lacking = result() | {"missing_levels": missing}
    note = "avx512 is not measured: this CPU lacks avx512bw, avx512f; the figures of avx2 stand in its place"
    step, kernels = tables(lacking)
    assert step.text().endswith(f"\n  {note}")
    assert kernels.text().endswith(f"\n  {note}")
    assert report([lacking]).count(f"- {note}\n") == 2


def test_text_tables():
    text = "\n".join(table.text() for table in tables(json.loads(json.dumps(result()))))
    assert "net, float32, batch 4: training step" in text
    assert "torch channels_last  best peer        1" in text
    assert "asmgen avx512: 2 threads are 2.00 (2.00-2.00) times as fast as 1" in text
    assert "250.0%*" in text
    assert "  direct" in text


def test_report():
    text = report([result(), result()])
    assert text.count("## net, float32, SGD, batch 4") == 2
    assert "    asmgen bench models/net.py" in text
    assert "| conv1 | conv\\* (2 calls) | 1.00 ms |" in text
    other = result() | {"versions": {"asmgen": "2"}}
    with pytest.raises(UsageError, match="net: versions"):
        report([result(), other])


def test_table_alignment():
    table = Table("T", ("name", "value"), 1, [("a", "1"), ("bcd", "10")])
    assert table.text().splitlines()[1:] == ["  name  value", "  a         1", "  bcd      10"]
