"""`twostream report`: from the command line to files and W&B."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from made_sweeps import CHOICES, results, sweep, write

from twostream.cli import main
from twostream.launch.command import end_sweep
from twostream.launch.sweep import Ledger
from twostream.report import build_report
from twostream.report.csv_files import groups_as_csv
from twostream.report.tables import read_tables
from twostream.report.wandb_summary import summary_rows, wandb_mode
from twostream.runs.sweep import Cell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """fusion=sum has 0.5, 0.6; fusion=max 0.7 and a failed seed."""
    tops = {"sum": (0.5, 0.6), "max": (0.7, "failed")}
    made = sweep({"fusion": ("sum", "max"), "seed": ("0", "1")}, lambda f, s: tops[f][int(s)], tmp_path / "sweep")
    write(made)
    return made.folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["twostream", "report", *arguments])
    main()


def test_it_prints_the_comparison_and_where_the_page_is(folder: Path, monkeypatch, capsys) -> None:
    run(monkeypatch, str(folder), "--baseline", "fusion=sum", "--metric", "test/loss")
    text = capsys.readouterr().out
    assert "4 runs: 3 finished, 1 failed" in text
    assert "Δ to baseline" in text
    assert "0.4500 ± 0.0707" in text, "losses 0.5 and 0.4: 0.1 / √2"
    assert text.strip().endswith(str(folder / "report" / "report.html"))
    assert not (folder / "report" / "wandb").exists(), "no run is in W&B, so neither is the summary"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--metric", "top1"], "error: metric='top1': no run has it; choose from test/loss, test/top1"),
        (["--pivot", "fusion", "depth"], "error: pivot='depth': was not swept; choose from fusion, seed"),
        (
            ["--pivot", "fusion", "sead"],
            "error: pivot='sead': was not swept; did you mean seed? choose from fusion, seed",
        ),
        (["--wandb", "maybe"], "error: wandb='maybe': choose from off, auto, offline, online"),
    ],
)
def test_wrong_input_is_one_line(folder: Path, monkeypatch, arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, str(folder), *arguments)
    assert str(stopped.value) == told
    assert not (folder / "report").exists()


def test_wandb_follows_the_runs(folder: Path, monkeypatch) -> None:
    cells = build_report(sweep({"fusion": ("a",)}, lambda fusion: 0.5, folder)).sweep.cells
    monkeypatch.setattr("twostream.training.wandb_account.has_key", lambda: False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_mode(None, cells) == "off"
    (folder / "0" / "wandb").mkdir()
    assert wandb_mode(None, cells) == "offline", "never prompts: there is no key"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode(None, cells) == "off"
    assert wandb_mode("online", cells) == "online", "as typed"


def test_a_summary_row_by_hand() -> None:
    tops = {"sum": (0.5, 0.6), "max": (0.7, "failed")}
    report = build_report(sweep({"fusion": ("sum", "max"), "seed": ("0", "1")}, lambda f, s: tops[f][int(s)]))
    assert summary_rows(report)[1] == [
        "fusion=max",
        0.7,
        None,
        1,
        2,
        "failed: seed=1",
        False,
        pytest.approx(0.2),  # of seed 0, 0.7 − 0.5
        *[None] * 5,
        None,
        162912,
        41062400,
    ]


def test_costs_that_differ_are_their_mean_everywhere() -> None:
    made = sweep({"seed": ("0", "1")}, lambda seed: 0.5)
    cells = [cell._replace(results=results(0.5, flops=flops)) for cell, flops in zip(made.cells, (10, 20), strict=True)]
    report = build_report(made._replace(cells=tuple(cells)))
    assert summary_rows(report)[0][-2:] == [162_912, 15]
    assert groups_as_csv(report).splitlines()[1].split(",")[-3:] == ["162912", "15.0", ""]


@pytest.mark.long
def test_the_wandb_run_has_the_table_and_the_bars(folder: Path, monkeypatch) -> None:
    run(monkeypatch, str(folder), "--wandb", "offline")
    tables = {path.name.split("_0_")[0]: path for path in (folder / "report" / "wandb").rglob("*.table.json")}
    settings, means = (json.loads(tables[name].read_text()) for name in ("settings", "means_table"))
    assert [row[0] for row in settings["data"]] == ["fusion=sum", "fusion=max"]
    assert settings["data"][1][3:6] == [1, 2, "failed: seed=1"]
    assert means["data"] == [["fusion=sum", pytest.approx(0.55)], ["fusion=max", 0.7]]


def test_the_files_are_there_when_wandb_fails(folder: Path, monkeypatch, capsys) -> None:
    def fails(*arguments, **options) -> None:
        raise OSError("no network")

    monkeypatch.setattr("twostream.report.write.log_summary", fails)
    (folder / "0" / "wandb").mkdir()
    run(monkeypatch, str(folder))
    assert "W&B: no network; the files in" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="error: wandb=online: no network"):
        run(monkeypatch, str(folder), "--wandb", "online")
    assert (folder / "report" / "report.html").exists()


def single_run(folder: Path, data: dict, top1: float | None, *overrides: str, **others: object) -> None:
    """As train.py leaves one."""
    folder.mkdir(parents=True)
    (folder / "overrides.json").write_text(json.dumps(overrides))
    (folder / "config.yaml").write_text(json.dumps({"data": data}))
    if top1 is not None:
        choices = {**CHOICES, "data": data["_target_"]}
        (folder / "results.json").write_text(json.dumps(results(top1, choices=choices, cell=folder.name, **others)))


def test_every_finished_run_below_a_folder_is_found(tmp_path: Path, monkeypatch, capsys) -> None:
    """Single runs by date and time, and a sweep; on two data sets, one of which has two places."""
    patterns, mine, other = (
        {"_target_": "patterns"},
        {"_target_": "folder", "root": "a"},
        {"_target_": "folder", "root": "../b"},
    )
    runs = tmp_path / "runs"
    single_run(runs / "2026-01-01" / "10-00-00", patterns, 0.5, "seed=0")
    single_run(runs / "2026-01-02" / "10-00-00", {**patterns, "cache": "ram"}, 0.7, "seed=1")
    single_run(runs / "2026-01-02" / "11-00-00", mine, 0.25)
    single_run(runs / "2026-01-02" / "12-00-00", other, 0.75, "data.root=../b")
    single_run(runs / "2026-01-02" / "13-00-00", {**other, "root": "/home/me/b"}, 0.75, "data.root=/home/me/b")
    single_run(runs / "2026-01-02" / "14-00-00", {**other, "root": "~/b"}, 0.75, "data.root=~/b")
    single_run(runs / "2026-01-02" / "15-00-00", other, 0.75, "data.root=../b")  # copied from another machine
    monkeypatch.setenv("HOME", "/home/me")
    (runs / "report").mkdir()
    (runs / "report" / "report.html").write_text("of the time when all runs were one table")
    for time, typed_in in (("12-00-00", "/home/me/work"), ("13-00-00", "/tmp"), ("15-00-00", "/scratch/job1")):
        (runs / "2026-01-02" / time / ".hydra").mkdir()
        said = json.dumps({"hydra": {"runtime": {"cwd": typed_in}}})
        (runs / "2026-01-02" / time / ".hydra" / "hydra.yaml").write_text(said)
    single_run(runs / "2026-01-03" / "failed", mine, None)
    (runs / "2026-01-03" / "failed" / "error.txt").write_text("ValueError: no\n")
    single_run(runs / "2026-01-03" / "refused", mine, None)
    (runs / "2026-01-03" / "refused" / "config.yaml").unlink()
    (runs / "2026-01-03" / "refused" / "error.txt").write_text("layer=conv9: choose from conv5\n")
    single_run(runs / "2026-01-03" / "early", patterns, None)
    (runs / "2026-01-03" / "early" / "config.yaml").unlink()
    single_run(runs / "2026-01-03" / "lost", patterns, None)
    (runs / "2026-01-03" / "lost" / "overrides.json").write_text("no")
    made = sweep({"fusion": ("sum", "max")}, lambda fusion: 0.6, runs / "sweeps" / "fusion-1")
    write(made)
    for cell in made.cells:
        assert cell.folder is not None
        (cell.folder / "config.yaml").write_text(json.dumps({"data": patterns}))
        (cell.folder / "results.json").write_text(json.dumps(results(0.6, choices={**CHOICES, "data": "patterns"})))
    run(monkeypatch, str(runs))
    text = capsys.readouterr().out
    assert "patterns\n4 runs: 4 finished\n" in text
    assert "folder root=a\n2 runs: 1 finished, 1 failed\n" in text
    assert "folder root=/home/me/b\n4 runs: 4 finished\n" in text, "typed in three ways, and once elsewhere"
    assert "no result: 2026-01-03/failed: failed, ValueError: no\n" in text
    assert "left out: 2026-01-03/early: interrupted\n" in text
    assert "conv9" not in text
    assert text.count(f"left out: {runs}: a command was refused before a run began\n") == 1
    assert f"left out: {runs}/2026-01-03/lost/overrides.json: damaged" in text
    pages = sorted(path.parent.name for path in (runs / "report").rglob("report.html"))
    assert pages == ["folder_root=_home_me_b", "folder_root=a", "patterns"]
    assert "2026-01-02/11-00-00" in (runs / "report" / "folder_root=a" / "report.csv").read_text()
    assert "75.00 ± 0.00  4" in text, "and one setting"
    run(monkeypatch, str(runs))
    assert capsys.readouterr().out == text, "a report is no run"
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "report.tex").write_text("mine")
    run(monkeypatch, str(runs), "--out", str(tmp_path / "paper"))
    capsys.readouterr()
    assert (tmp_path / "paper" / "report.tex").read_text() == "mine", "in a folder of one's own nothing goes"
    run(monkeypatch, str(runs / "2026-01-02" / "11-00-00"))
    assert "1 run: 1 finished\n" in capsys.readouterr().out, "a run alone"


def test_runs_whose_test_videos_were_changed_between_are_tables_of_their_own(folder: Path, monkeypatch, capsys) -> None:
    for name, number in (("0", 16), ("1", 18), ("2", 16)):
        path = folder / name / "results.json"
        lists = {"test": {"videos": number, "fingerprint": f"{number}abcd"}}
        path.write_text(json.dumps({**json.loads(path.read_text()), "data": lists}))
    run(monkeypatch, str(folder))
    text = capsys.readouterr().out
    assert "sweep split=1, 16 test videos (16ab)\n2 runs: 2 finished\n" in text
    assert "sweep split=1, 18 test videos (18ab)\n1 run: 1 finished\n" in text
    assert "left out: 3: failed, ValueError: no such file" in text, "on which videos is not known"


def say_tested(cell: Cell, videos: int, mark: str) -> None:
    """Writes which videos a run was tested on."""
    assert cell.folder is not None
    lists = {"test": {"videos": videos, "fingerprint": mark}}
    (cell.folder / "results.json").write_text(json.dumps({**(cell.results or {}), "data": lists}))


def test_a_sweep_of_two_data_sets_is_two_tables(tmp_path: Path) -> None:
    made = sweep({"data": ("a", "b", "c"), "fusion": ("sum", "max")}, lambda data, _: "failed" if data == "c" else 0.5)
    made = made._replace(
        cells=tuple(c._replace(folder=c.folder and tmp_path / c.folder) for c in made.cells), folder=tmp_path / "sweep"
    )
    write(made)
    for cell in made.cells[:4]:
        say_tested(cell, 20, cell.overrides["data"])
    tables = read_tables(made.folder)
    assert list(tables) == ["a", "b"]
    assert [cell.name for cell in tables["b"].cells] == ["2", "3"]
    assert tables["b"].axes == {"data": ("b",), "fusion": ("sum", "max")}
    assert tables["a"].left_out == ("4: failed, ValueError: no such file", "5: failed, ValueError: no such file")


def test_a_sweep_of_training_sizes_is_one_table_where_the_test_is_the_same(tmp_path: Path) -> None:
    made = sweep({"data.train_clips": ("10", "20"), "split": ("1", "2")}, lambda *_: 0.5, tmp_path / "sweep")
    write(made)
    for cell in made.cells:
        split = int(cell.overrides["split"])
        say_tested(cell._replace(results={**(cell.results or {}), "split": split}), 20, f"list {split}")
    [(name, table)] = read_tables(made.folder).items()
    assert (name, len(table.cells)) == ("sweep", 4)


def test_values_have_one_spelling_in_sweeps_and_single_runs(tmp_path: Path) -> None:
    """Hydra writes False and 0.001 into a sweep where a single run keeps what was typed, or names nothing."""
    runs, data = tmp_path / "runs", {"_target_": "patterns"}
    single_run(runs / "a", data, 0.5, "two_towers=False", "optimizer.learning_rate=0.001")
    single_run(runs / "b", data, 0.5, "two_towers=false", "optimizer.learning_rate=1e-3", "seed=1")
    single_run(runs / "c", data, 0.5, "two_towers=true", "seed=1")
    single_run(runs / "d", data, 0.5)
    config = {"data": data, "two_towers": False, "optimizer": {"learning_rate": 0.001}}
    for name in "cd":
        (runs / name / "config.yaml").write_text(json.dumps(config))
    [table] = read_tables(runs).values()
    assert table.axes["two_towers"] == ("false", "true")
    assert "optimizer.learning_rate" not in table.axes, "all have the same"


def test_what_is_no_training_run_is_named_once(tmp_path: Path, monkeypatch, capsys) -> None:
    runs = tmp_path / "runs"
    for name in "ab":
        single_run(runs / name, {"_target_": name}, 0.5)
        (runs / "evaluated" / name).mkdir(parents=True)
        (runs / "evaluated" / name / "metrics.json").write_text("{}")
    (runs / "probe").mkdir()
    (runs / "probe" / "probe.json").write_text("{}")
    run(monkeypatch, str(runs))
    text = capsys.readouterr().out
    assert text.count(f"left out: {runs}: 1 probe (probe.json), since a report compares training runs\n") == 1
    assert text.count(f"left out: {runs}: 2 evaluations (metrics.json), since") == 1
    with pytest.raises(SystemExit, match="no training run is in it or below it"):
        run(monkeypatch, str(runs / "evaluated"))


@pytest.mark.parametrize(
    ("others", "failed", "told"),
    [
        ([], [], None),
        (["running"], [], None),
        ([], ["fusion_sum"], "fusion_sum: not taken for finished"),
        (["failed"], [], "of 2 cells 1 failed; try them again with: "),
        (["running", "interrupted"], [], "of 3 cells 1 running, 1 interrupted; try them again with: "),
    ],
    ids=["all finished", "another process is at one", "other results", "failed", "nobody is at it"],
)
def test_a_sweep_fails_where_a_cell_did(
    others: list[str], failed: list[str], told: str | None, tmp_path: Path, monkeypatch, capsys
) -> None:
    states = ["finished", *others]
    made = sweep(
        {"seed": [str(number) for number in range(len(states))]},
        lambda seed: 0.5 if seed == "0" else states[int(seed)],
        tmp_path / "sweep",
    )
    held = write(made)
    monkeypatch.setattr(Ledger, "failed", tuple(failed))
    if told is None:
        end_sweep(made.folder)
        assert ("of 2 cells 1 running: another process is at it" in capsys.readouterr().out) == bool(others)
    else:
        with pytest.raises(SystemExit, match=told) as ended:
            end_sweep(made.folder)
        assert isinstance(ended.value.code, str), "exit code 1"
    assert len(held) == others.count("running")
