"""The pooled score of folds: every video once, by an independent few lines; nothing where that is not so."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import sweep, write, write_report

from twostream.data.sources import Folder
from twostream.metrics.scores import Scores
from twostream.report import as_text, build_report
from twostream.report.html import page_data
from twostream.report.markdown import as_markdown
from twostream.report.pooled import NOTE, TITLE, Whole, numbers_of, pooled_columns
from twostream.runs.sweep import Sweep, read_sweep

RATES = {"sum": 0.5, "conv": 0.9}


def write_data(root: Path) -> Path:
    """Three classes of 6, 4 and 3 groups, of one to three videos."""
    for label, groups in enumerate((6, 4, 3)):
        for group in range(groups):
            for number in range(1 + (group + label) % 3):
                path = root / "data" / "abc"[label] / f"g{group}" / f"{number}.avi"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return root / "data"


def made(root: Path, *, folds: int = 3, seeds: Sequence[str] = ("0", "1"), splits: int = 0) -> Sweep:
    """A sweep whose runs have scored their folds, written."""
    data, generator = write_data(root), np.random.default_rng(0)
    axes = {"fusion": tuple(RATES), "split": tuple(map(str, range(1, 1 + (splits or folds)))), "seed": tuple(seeds)}
    content = sweep(axes, lambda *_: 0.5, root / "sweep")
    write(content)
    for cell in content.cells:
        source = Folder(data, split=int(cell.overrides["split"]), folds=folds)
        logits = generator.random((len(source.test), 3))
        for row, video in enumerate(source.test):
            logits[row, video.label] += generator.random() < RATES[cell.overrides["fusion"]]
        described = {"protocol": "train", "checkpoint": "", "data": "folder", "part": "test"}
        scores = Scores.of(
            source.test, dict(enumerate(logits)), classes=source.classes, split=source.split, **described
        )
        assert cell.folder is not None
        scores.save(cell.folder / "test_scores.npz")
        source.write_split(cell.folder / "split.csv")
    return content


def table(folder: Path) -> dict[str, tuple[str, ...]] | None:
    columns = pooled_columns(build_report(read_sweep(folder)))
    return None if columns is None else {column.title: column.texts for column in columns}


def test_recomputed_by_ten_independent_lines(tmp_path: Path) -> None:
    made(tmp_path)
    report = write_report(tmp_path / "sweep", wandb="off")
    found = {column.title: column for column in report.folds or ()}
    for row, fusion in enumerate(RATES):
        top1, mean_class = [], []
        for seed in "01":
            right, labels = [], []
            for folder in (tmp_path / "sweep").glob("[0-9]*"):
                if {f"fusion={fusion}", f"seed={seed}"} <= set(json.loads((folder / "overrides.json").read_text())):
                    with np.load(folder / "test_scores.npz") as file:
                        right += (file["logits"].argmax(1) == file["labels"]).tolist()
                        labels += file["labels"].tolist()
            top1.append(np.mean(right))
            mean_class.append(np.mean([np.mean(np.array(right)[np.array(labels) == k]) for k in range(3)]))
        for title, values in (("pooled test/top1, %", top1), ("pooled test/mean_class, %", mean_class)):
            assert found[title].keys[row] == pytest.approx(np.mean(values))
            told = f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f} ("
            assert found[title].texts[row].startswith(told)
    assert found["videos"].texts == ("26", "26")
    assert found["seeds"].texts == ("2", "2")
    assert "lacks" not in found


def test_every_format_shows_it(tmp_path: Path) -> None:
    made(tmp_path)
    report = write_report(tmp_path / "sweep", wandb="off")
    assert report.folds is not None
    number = report.folds[-1].texts[1]
    lines = as_text(report).splitlines()
    assert lines[lines.index(f"{TITLE}:") + 1].split()[:3] == ["fusion", "videos", "seeds"]
    assert lines[-1].endswith(number)
    text = (tmp_path / "sweep/report/report.md").read_text()
    assert f"## {TITLE}" in text
    assert f"| {number} |" in text
    assert NOTE.split(":")[0] in text
    shown = page_data(report)["folds"]
    assert (shown["title"], shown["table"][-1]["texts"][1], shown["note"]) == (TITLE, number, NOTE)
    assert 'id="folds-table"' in (tmp_path / "sweep/report/report.html").read_text()


def test_other_sweeps_have_no_such_table(tmp_path: Path) -> None:
    content = made(tmp_path)
    for cell in content.cells:
        assert cell.folder is not None
        Folder(tmp_path / "data", split=int(cell.overrides["split"])).write_split(cell.folder / "split.csv")
    report = write_report(tmp_path / "sweep", wandb="off")
    assert report.folds is None
    assert TITLE not in as_text(report) + as_markdown(report)
    assert page_data(report)["folds"] is None


def test_what_lacks_is_said(tmp_path: Path) -> None:
    content = made(tmp_path)
    of = {tuple(cell.overrides.values()): cell.folder for cell in content.cells}
    (of["sum", "2", "1"] / "test_scores.npz").unlink()
    (of["sum", "3", "1"] / "results.json").unlink()
    found = table(tmp_path / "sweep")
    assert found is not None
    assert found["lacks"] == ("seed=1: fold 2, 3 of 3", "")
    assert found["seeds"] == ("1/2", "2")
    assert "±" not in found["pooled test/top1, %"][0]

    (of["conv", "1", "0"] / "test_scores.npz").write_bytes(b"damaged")
    path = of["conv", "1", "1"] / "test_scores.npz"
    scores = Scores.load(path)
    some = {"videos": scores.videos[1:], "labels": scores.labels[1:], "logits": scores.logits[1:]}
    Scores(**{**vars(scores), **some}).save(path)  # a video that could not be read
    found = table(tmp_path / "sweep")
    assert found is not None
    assert found["lacks"][1] == "seed=0: fold 1 of 3; seed=1: 1 of 26 videos has no scores"
    assert found["pooled test/top1, %"][1] == "—"


def test_videos_that_were_tested_twice_are_not_pooled(tmp_path: Path) -> None:
    content = made(tmp_path, seeds=("0",))
    by_split = {cell.overrides["split"]: cell.folder for cell in content.cells if cell.overrides["fusion"] == "sum"}
    one = Scores.load(by_split["1"] / "test_scores.npz")
    Scores(**{**vars(one), "split": 2}).save(by_split["2"] / "test_scores.npz")
    found = table(tmp_path / "sweep")
    assert found is not None
    assert found["lacks"][0] == f"seed=0: {len(one.videos)} videos were tested more than once"


def test_other_folds_are_not_pooled(tmp_path: Path) -> None:
    content = made(tmp_path, seeds=("0",))
    folder = content.cells[0].folder
    assert folder is not None
    Folder(tmp_path / "data", split=1, folds=3, seed=5).write_split(folder / "split.csv")
    found = table(tmp_path / "sweep")
    assert found is not None
    assert found["lacks"] == ("its runs are on different folds", "")


def test_a_sweep_of_a_part_of_the_folds_and_a_single_run(tmp_path: Path) -> None:
    made(tmp_path, splits=1, seeds=("0",))
    found = table(tmp_path / "sweep")
    assert found is not None
    assert found["lacks"] == ("seed=0: fold 2, 3 of 3",) * 2


def test_the_rows_of_the_file_say_the_folds(tmp_path: Path) -> None:
    content = made(tmp_path, seeds=("0",))
    folder = content.cells[0].folder
    assert folder is not None
    with (folder / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    tests = [
        {row["video"] for row in rows if row["fold"] == str(split)}
        == {video.id for video in Folder(tmp_path / "data", split=split, folds=3).test}
        for split in (1, 2, 3)
    ]
    assert tests == [True] * 3


def test_the_interval_is_as_wide_as_the_groups_ask() -> None:
    labels = np.repeat([0, 1], 50)
    apart = tuple(map(str, range(100)))
    together = tuple(f"{k // 10}" for k in range(100))  # ten alike videos in a group
    right = np.array([k // 10 % 2 for k in range(100)], float)
    narrow, wide = (numbers_of([Whole(right, labels, groups)]) for groups in (apart, together))
    assert [number.value for number in narrow] == [number.value for number in wide] == [0.5, 0.5]
    for one, other in zip(narrow, wide, strict=True):
        assert other.high - other.low > 2 * (one.high - one.low) > 0.3
    sure, _ = numbers_of([Whole(np.ones(10), np.repeat([0, 1], 5), apart[:10])])
    assert (round(sure.low, 3), sure.high) == (0.722, 1.0)  # Wilson's, where all samples are equal
    half = numbers_of([Whole(right, labels, apart), Whole(1 - right, labels, apart)])[0]
    assert half.value == 0.5
