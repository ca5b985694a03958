"""What stands above a training and below it, and its warnings, to the letter. Nothing is decoded or trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twostream.config.compose import compose_config
from twostream.config.loss import FEW_OF_CLASS, UNEQUAL, balance_cautions
from twostream.config.run import Run, build_run
from twostream.config.settle import settle
from twostream.data.sources import Video
from twostream.launch.announce import announce
from twostream.launch.ending import ending, own_packages
from twostream.launch.header import COLUMNS, header, layout

SMALL = ["data=folder", "weights=null", "backbone=tiny", "num_workers=0", "transform.size=64", "trainer=cpu"]
SMALL += ["validation_fraction=0.2"]
EVERYTHING = ["loss.class_weights=balanced", "sampler=balanced", "loss.focal=2", "precision=bf16-mixed"]
Make = Callable[..., tuple[str, str]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Returns a function that returns the header and the ending of a run on two classes of eight videos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    def of(*words: str, per_group: int = 1, cell: str = "") -> tuple[str, str]:
        cfg, run = built(*words, per_group=per_group)
        place = Path("runs/x")
        return header(cfg, run, place, run.trainer.loggers, cell=cell), ending(cfg, run, place, 75, cell=bool(cell))

    return of


def built(*words: str, per_group: int = 1) -> tuple:
    for name in "ab":
        for number in range(8):
            path = Path("clips", name, f"g{number // per_group}", f"{number}.mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}{number}")
    cfg = compose_config([*SMALL, "data.root=clips", *words])
    run: Run = build_run(cfg, Path("runs/x"))
    return settle(cfg, run.source), run


def test_a_run_of_two_streams(make: Make) -> None:
    above, below = make("logger=csv", per_group=2)
    assert above.splitlines() == [
        "data      folder clips, split 1, 2 classes",
        "videos    8 training, 4 validation, 4 test",
        "groups    4 training, 2 validation, 2 test",
        "rgb       tiny, random weights",
        "flow      tiny, random weights",
        "algorithm dis (fast) computes flow while loading",
        "fusion    conv at conv5; 165,106 parameters",
        "training  20 epochs, 8 videos a step",
        "device    CPU, 1 process",
        "folder    runs/x",
    ]
    *_, path = below.splitlines()[2].split()
    assert Path(path).is_file()
    assert below.splitlines() == [
        "folder    runs/x; trained in 75 s",
        "next",
        f"  twostream predict runs/x {path}",
        f"  twostream inspect runs/x {path}",
        "  twostream report runs/x",
    ]


def test_what_is_not_usual_is_said_in_twelve_lines(make: Make) -> None:
    above, _ = make(*EVERYTHING, per_group=2)
    lines = above.splitlines()
    assert lines[7] == "loss      cross-entropy, class_weights=balanced, focal=2, sampler=balanced"
    assert lines[9] == "device    CPU, 1 process, precision=bf16-mixed"
    assert lines[10] == "W&B       offline; upload: wandb sync runs/x/wandb/*run-*"
    assert len(lines) == 12
    assert max(map(len, lines)) <= COLUMNS


def test_a_cell_of_a_sweep_says_less(make: Make) -> None:
    above, below = make("streams=rgb", "fusion=sum", cell="3 of 8")
    assert above.splitlines() == [
        "cell      3 of 8",
        "data      folder clips, split 1, 2 classes",
        "rgb       tiny, random weights",
        "network   79,314 parameters",
        "folder    runs/x",
    ]
    assert below == "-> runs/x"


def test_own_code_is_trusted_in_the_commands() -> None:
    cfg = compose_config([])
    assert own_packages(cfg) == []
    cfg.fusion._target_ = "mylab.fusion.MyFusion"
    assert own_packages(cfg) == ["mylab"]


def test_pictures_and_a_video_that_is_gone(make: Make, tmp_path: Path, monkeypatch) -> None:
    cfg, run = built("logger=csv")
    place = tmp_path / "it's"
    place.mkdir()
    (place / "learning_curves.png").touch()
    for video in run.data.test_set.videos:
        video.path.unlink()
    lines = ending(cfg, run, place, 9000).splitlines()
    assert lines[0] == "folder    it's; trained in 2.5 h"
    assert lines[1] == "pictures  learning_curves.png, in it"
    assert lines[3] == """  twostream predict 'it'"'"'s' VIDEO"""
    monkeypatch.setenv("TWOSTREAM_TYPED_IN", "/elsewhere")  # where resume= was typed
    assert ending(cfg, run, place, 9000).splitlines()[0] == f"folder    {place}; trained in 2.5 h"


def of_sizes(*sizes: int) -> list[Video]:
    return [
        Video(id=f"{label}-{k}", path=Path("x"), label=label, group="g")
        for label, size in enumerate(sizes)
        for k in range(size)
    ]


@pytest.mark.parametrize(
    ("sizes", "words", "said"),
    [
        ((10, 29), [], []),
        (
            (9, 9),
            [],
            [
                "2 of 2 classes have fewer than 10 training videos (a: 9): expect other numbers from another split or "
                "seed"
            ],
        ),
        (
            (9, 9),
            ["weights=imagenet", "backbone=resnet18"],
            [
                "2 of 2 classes have fewer than 10 training videos (a: 9): expect other numbers from another split or "
                "seed; `twostream probe` says what to beat"
            ],
        ),
        (
            (30, 10),
            [],
            [
                "classes are of unequal size (a: 30 training videos, b: 10): read test/mean_class, where all classes "
                "count alike; loss.class_weights=balanced counts rare classes more"
            ],
        ),
        ((30, 10), ["sampler=balanced"], []),
        (
            (10, 10),
            ["sampler=balanced", "loss.class_weights=balanced"],
            ["sampler=balanced and loss.class_weights together count rare classes twice; one of them is enough"],
        ),
    ],
)
def test_classes_that_are_few_unequal_or_balanced_twice(sizes: tuple[int, int], words: list[str], said: list) -> None:
    assert (FEW_OF_CLASS, UNEQUAL) == (10, 3.0)
    assert balance_cautions(compose_config(words), of_sizes(*sizes), ("a", "b")) == said


def test_the_warnings_stand_below_the_header(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    cfg, run = built("logger=csv", per_group=2)
    announce(cfg, cfg, run, Path("runs/x"), run.trainer.loggers)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:29] for line in lines if line.startswith(("WARNING", "NOTE"))] == [
        "WARNING: 2 of 2 classes have ",
        "NOTE: 4 test videos: one of t",
    ]


def test_what_is_copied_stays_in_one_line() -> None:
    """A line end within quotes would be part of the path."""
    rows = {"W&B": "offline; upload: wandb sync " + "'my runs/a/wandb'" * 4, "folder": "my runs " * 12}
    assert layout(rows).splitlines() == [f"{name:<10}{text}" for name, text in rows.items()]
