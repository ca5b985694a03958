"""The rows of runs that learned from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_sweeps import results

from twostream.report.build import build_report
from twostream.report.columns import cell_columns, group_columns
from twostream.runs.sweep import Cell, make_sweep


def teacher(*streams: str, settings: str = "aaaaaaaa") -> dict[str, Any]:
    facts = {"run": "t", "weights": "0" * 64, "layer": "conv5", "weight": 50.0}
    return {**facts, "streams": list(streams), "settings": settings}


def run(name: str, top1: float, facts: dict[str, Any] | None = None, speed: float = 1.0, **typed: str) -> Cell:
    overrides = {key.replace("_from", ".from"): value for key, value in typed.items()}
    found = results(top1, teacher=facts, seed=int(typed["seed"]), test_videos_per_second=speed)
    return Cell(name, Path(name), overrides, "finished", found)


def table(*runs: Cell) -> list[tuple[str, ...]]:
    """Streams, teacher, accuracy and speed of each row."""
    report = build_report(make_sweep(Path("runs"), None, runs, []))
    columns = {column.title: column.texts for column in group_columns(report)}
    return list(
        zip(*(columns[name] for name in ("streams", "distill.from", "test/top1, %", "test videos/s")), strict=True)
    )


def test_rows_of_one_stream_both_and_distilled() -> None:
    """Each student has a teacher of its own seed: by its streams, they are one row."""
    runs = [
        cell
        for seed in ("0", "1")
        for cell in (
            run(f"rgb{seed}", 0.5, streams="rgb", seed=seed, speed=400.0),
            run(f"flow{seed}", 0.25, streams="flow", seed=seed, speed=100.0),
            run(f"fused{seed}", 1.0, streams="[rgb,flow]", seed=seed, speed=80.0),
            run(
                f"a{seed}", 0.6, teacher("flow"), streams="rgb", seed=seed, distill_from=f"runs/flow{seed}", speed=400.0
            ),
            run(
                f"b{seed}",
                0.7,
                teacher("rgb", "flow"),
                streams="rgb",
                seed=seed,
                distill_from=f"runs/f{seed}",
                speed=400.0,
            ),
        )
    ]
    rows = [(streams, by, float(top1.split()[0]), speed) for streams, by, top1, speed in table(*runs)]
    assert sorted(rows) == [
        ("[rgb,flow]", "none", 100.0, "80.0"),
        ("flow", "none", 25.0, "100"),
        ("rgb", "flow", 60.0, "400"),
        ("rgb", "none", 50.0, "400"),
        ("rgb", "rgb+flow", 70.0, "400"),
    ]


def test_teachers_of_other_settings_are_other_rows() -> None:
    runs = [
        run("a", 0.5, teacher("flow"), streams="rgb", seed="0", distill_from="x/short"),
        run("b", 0.6, teacher("flow", settings="bbbbbbbb"), streams="rgb", seed="0", distill_from="x/long"),
        run("c", 0.4, None, streams="flow", seed="0", distill_from="null"),
    ]
    assert sorted(by for _, by, *_ in table(*runs)) == ["flow aaaa", "flow bbbb", "none"]


def test_an_unfinished_run_has_the_name_of_its_folder_unless_another_tells() -> None:
    finished = run("a", 0.5, teacher("flow"), streams="rgb", seed="0", distill_from="runs/flow")
    plain = run("b", 0.5, streams="rgb", seed="0")
    waiting = [
        finished._replace(name=name, state="failed", results=None, overrides={**finished.overrides, **more})
        for name, more in (("c", {"seed": "1"}), ("d", {"seed": "1", "distill.from": "runs/other"}))
    ]
    report = build_report(make_sweep(Path("runs"), None, [finished, plain, *waiting], []))
    names = {column.title: column.texts for column in cell_columns(report)}
    assert dict(zip(names["run"], names["distill.from"], strict=True)) == {
        "a": "flow",
        "b": "none",
        "c": "flow",
        "d": "runs/other",
    }
