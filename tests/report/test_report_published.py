"""Numbers of papers stand beside the runs that `conf/experiment/` says are theirs, and beside no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from made_sweeps import results, sweep
from omegaconf import OmegaConf

from twostream.options import conf_folder
from twostream.report import build_report
from twostream.report.groups import Group
from twostream.report.notes import notes
from twostream.report.published import CHOICES, USUAL, printed_number, published
from twostream.runs.sweep import Cell

ROWS = {
    path.stem: re.search(r"([\d.]+) on UCF101(, mean of 3 splits| split 1)", path.read_text())
    for path in sorted((conf_folder() / "experiment").glob("t[1-5]_*.yaml"))
}

IN_T1 = ("t2_conv5", "t3_vgg_m_late")  # rows that T1 has, too


def group(folder: Path, *overrides: str, splits: tuple[str, ...] = ("1",), **others: object) -> Group:
    """Of finished runs with these overrides, a run a split; `others`: of their results."""
    cells = []
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = {name: option for name, option in cfg.hydra.runtime.choices.items() if "hydra" not in name}
    del cfg.hydra
    for split in splits:
        (folder / split).mkdir()
        OmegaConf.save(cfg, folder / split / "config.yaml", resolve=True)
        layer = cfg.layer if isinstance(cfg.layer, str) else list(cfg.layer)
        content = results(0.8, choices=choices, layer=layer, split=int(split), **others)
        cells.append(Cell(split, folder / split, {"split": split}, "finished", content, None))
    return Group({}, tuple(cells), {}, {})


@pytest.mark.parametrize("experiment", ROWS)
def test_every_experiment_finds_its_number(experiment: str, tmp_path: Path) -> None:
    row = ROWS[experiment]
    assert row is not None, "its first lines say what the paper has"
    splits = ("1",) if "split 1" in row[2] else ("1", "2", "3")
    found = printed_number(group(tmp_path, f"experiment={experiment}", splits=splits))
    assert found is not None
    assert 100 * found.accuracy == pytest.approx(float(row[1]))
    if experiment not in IN_T1:
        assert found.table[:2].lower() == experiment[:2]


def test_all_numbers_of_ucf101_are_experiments() -> None:
    of_ucf101 = [row for row in published() if row.data == "ucf101" and row.printed.paper.startswith("Feichtenhofer")]
    assert len(of_ucf101) == len(ROWS) - len(IN_T1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "splits"),
    [
        (("experiment=t1_conv",), ("2",)),
        (("experiment=t1_conv",), ("1", "2", "3")),
        (("experiment=t1_conv", "two_towers=true"), ("1",)),
        (("experiment=t1_conv", "attention=se"), ("1",)),
        (("experiment=t1_conv", "fusion.init=kaiming"), ("1",)),
        (("experiment=t1_conv", "backbone=resnet50"), ("1",)),
        (("experiment=t1_conv", "data.classes=[Biking,Diving]"), ("1",)),
        (("fusion=conv",), ("1",)),
    ],
)
def test_other_runs_have_no_number_of_the_paper(overrides: tuple, splits: tuple, tmp_path: Path) -> None:
    assert printed_number(group(tmp_path, *overrides, splits=splits)) is None


def test_hmdb51_has_numbers_of_its_own(tmp_path: Path) -> None:
    overrides = ("experiment=t5_vgg16_two_towers", "data=hmdb51", "backbone=vgg16", "temporal=conv3d", "layer=conv5")
    found = printed_number(group(tmp_path, *overrides, splits=("1", "2", "3")))
    assert found is not None
    assert (found.accuracy, found.table) == (pytest.approx(0.654), "T5")


OTHERS = {
    ("experiment=actionvlad",): (66.7, "Girdhar"),
    ("experiment=actionvlad", "streams=rgb"): (51.4, "Girdhar"),
    ("experiment=actionvlad", "streams=flow"): (59.0, "Girdhar"),
    **{
        (f"experiment={name}", *streams): (percent, paper)
        for name, paper, percents in (
            ("tsn_vgg16", "TSN", (90.9, 79.8, 85.7)),
            ("tsn_googlenet", "TSN", (89.0, 77.1, 83.9)),
            ("i3d_two_stream", "I3D", (91.2, 83.6, 85.6)),
            ("i3d", "I3D", (93.4, 84.5, 90.6)),
        )
        for streams, percent in zip(((), ("streams=rgb",), ("streams=flow",)), percents, strict=True)
    },
    ("experiment=i3d_3d_fused",): (89.3, "I3D"),
    ("experiment=i3d_3d_fused", "streams=[flow,rgb]"): (89.3, "I3D"),
    ("data=ucf101", "backbone=vgg16", "temporal=pool2d", "sampling=chunks", "streams=rgb"): (82.61, "Feichtenhofer"),
}


HYBRIDS = {  # leave one group out: the abstract does not say the splits
    ("experiment=hybrid_cross_attention",): 98.12,
    ("experiment=hybrid_late", "streams=rgb"): 95.94,
    ("experiment=hybrid_weighted", "data=ucf50", "backbone=timm", "sampling=segments"): 96.86,
    ("experiment=hybrid_weighted",): None,
    ("experiment=hybrid_late",): None,
    ("experiment=hybrid_concat",): None,
    ("experiment=hybrid_gated",): None,
}


@pytest.mark.long
@pytest.mark.parametrize("overrides", HYBRIDS)
def test_hybrids_have_the_numbers_of_the_abstract(overrides: tuple, tmp_path: Path) -> None:
    found = printed_number(group(tmp_path, *overrides, splits=tuple(map(str, range(1, 26)))))
    assert (found and round(100 * found.accuracy, 2)) == HYBRIDS[overrides]


@pytest.mark.long
@pytest.mark.parametrize("overrides", OTHERS)
def test_other_papers_have_numbers_too(overrides: tuple, tmp_path: Path) -> None:
    found = printed_number(group(tmp_path, *overrides))
    assert found is not None
    assert 100 * found.accuracy == pytest.approx(OTHERS[overrides][0])
    assert OTHERS[overrides][1] in found.paper


def test_every_published_row_names_only_what_is_compared() -> None:
    known = {*USUAL, *CHOICES, "flow_backbone", "layer", "method"} - {"splits", "data"}
    for row in published():
        assert set(row.setting) <= known
        assert 0 < row.printed.accuracy < 1
        assert row.options == {} or "fusion" in row.setting
        assert row.recipe.keys() <= {"flow", "weights", "views"}


def test_fusion_swept_under_one_experiment_finds_each_row(tmp_path: Path) -> None:
    for number, (fusion, percent) in enumerate([("sum", 85.20), ("max", 82.70), ("concat", 83.53), ("conv", 85.96)]):
        (tmp_path / str(number)).mkdir()
        found = printed_number(group(tmp_path / str(number), "experiment=paper", f"fusion={fusion}"))
        assert found is not None
        assert found.accuracy == pytest.approx(percent / 100)


IMAGENET = {"rgb": "imagenet (vgg16.pth)", "flow": "imagenet (vgg16.pth), first layer averaged over colours"}


@pytest.mark.parametrize(
    ("overrides", "weights", "differs", "unknown"),
    [
        (["tsn_vgg16"], IMAGENET, {}, ("flow",)),
        (["tsn_vgg16", "streams=rgb"], {"rgb": IMAGENET["rgb"]}, {}, ()),
        (
            ["tsn_vgg16", "sampling.test_views=1", "transform.test=centre"],
            {"rgb": "random", "flow": "random"},
            {"weights": "there ImageNet, here random", "views": "there 25 clips × 10 crops, here 1 clip × 1 crop"},
            ("flow",),
        ),
        (["t1_conv", "flow=tvl1"], IMAGENET, {}, ()),
        (["t1_conv"], IMAGENET, {"flow": "there Brox or TV-L1, here DIS"}, ()),
        (["actionvlad"], None, {}, ("flow", "views")),
    ],
)
def test_what_differs_is_named(overrides, weights, differs, unknown, tmp_path: Path) -> None:
    asked = [f"experiment={overrides[0]}", *overrides[1:]]
    found = printed_number(group(tmp_path, *asked, **({"weights": weights} if weights else {})))
    assert found is not None
    assert (found.differs, found.unknown) == (differs, unknown)


@pytest.mark.parametrize(
    ("weights", "table", "percent"),
    [
        ("imagenet (a.pth)", "T2 c", 91.2),
        ("random", "T4 c", 83.6),
        ("kinetics (b.pth)", "T4 c", 93.8),
        ("imagenet-then-kinetics.pth", "T4 c", 94.2),
    ],
)
def test_of_rows_of_one_setting_that_with_the_nearest_start_is_shown(weights, table, percent, tmp_path: Path) -> None:
    starts = {"rgb": weights, "flow": weights}
    found = printed_number(group(tmp_path, "experiment=i3d_two_stream", weights=starts))
    assert found is not None
    assert (found.table, 100 * found.accuracy) == (table, pytest.approx(percent))


@pytest.mark.parametrize(
    ("data", "split", "videos", "differs"),
    [
        ("ucf101", "1", 3783, {}),
        ("ucf101", "1", 3780, {"test videos": "there 3,783, here 3,780"}),
        ("ucf101", "1", 24, None),  # some of the classes, in lists of one's own
        ("ucf101", "1", 2664, None),  # a fold
        ("hmdb51", "1", 1530, {}),
        ("hmdb51", "1", 5, None),
    ],
)
def test_a_part_of_the_data_is_not_the_papers(data: str, split: str, videos: int, differs, tmp_path: Path) -> None:
    lists = {"test": {"videos": videos, "fingerprint": "0"}}
    alone = ("experiment=t3_vgg16_spatial", f"data={data}", "flow=tvl1")
    found = printed_number(group(tmp_path, *alone, splits=(split,), data=lists, weights={"rgb": IMAGENET["rgb"]}))
    assert (found and found.differs) == differs


@pytest.mark.long
@pytest.mark.parametrize(
    ("videos", "unreadable", "differs"),
    [
        ({"train": 1_400, "validation": 100, "test": 100}, {}, {}),
        ({"train": 1_490, "validation": 0, "test": 100}, {}, {"videos": "there 1,600, here 1,590"}),
        ({"train": 1_501, "validation": 0, "test": 100}, {}, {"videos": "there 1,600, here 1,601"}),
        ({"train": 1_400, "validation": 100, "test": 100}, {"val": ["a"]}, {"videos": "there 1,600, here 1,599"}),
        ({"train": 700, "validation": 0, "test": 50}, {}, None),
        ({"test": 100}, {}, {}),  # of others it is not known
    ],
)
def test_splits_that_leave_out_a_group_need_all_videos(videos, unreadable, differs, tmp_path: Path) -> None:
    results = {"data": {part: {"videos": number} for part, number in videos.items()}, "unreadable": unreadable}
    splits = tuple(map(str, range(1, 26)))
    found = printed_number(group(tmp_path, "experiment=hybrid_cross_attention", splits=splits, **results))
    assert (found and found.differs) == differs


def test_the_note_names_paper_source_and_differences(tmp_path: Path) -> None:
    made = sweep({"fusion": ("conv",)}, lambda fusion: 0.5)
    shown = printed_number(group(tmp_path, "experiment=t1_conv", weights=IMAGENET))
    [told] = [
        line for line in notes(build_report(made, printed_number=lambda group: shown)) if line.startswith("paper")
    ]
    assert told == (
        "paper: Feichtenhofer, Pinz & Zisserman, CVPR 2016 (arXiv 1604.06573), the table named, same data, network and "
        "splits; different: flow (there Brox or TV-L1, here DIS). Training may differ, too."
    )


def test_what_no_option_is_stands_beside_no_run() -> None:
    rows = [row for row in published() if "method" in row.setting]
    assert len(rows) > 50
    assert not any(row.fits({**row.setting, "method": None}, row.options) for row in rows)
