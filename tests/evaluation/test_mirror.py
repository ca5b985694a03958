"""Whether a mirror keeps the label is a property of the data: training, validation and every protocol obey it."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from twostream.config.clips import build_transform
from twostream.config.compose import compose_config
from twostream.config.data import mirror_note
from twostream.config.older import mirrors
from twostream.config.protocols import CROPS, PROTOCOLS
from twostream.config.saved import change_config, load_config
from twostream.report.tables import data_of
from twostream.runs.folders import Cell


@pytest.mark.long
@pytest.mark.parametrize("transform", ["paper", "tsn", "centre", "none"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_view_is_mirrored_where_left_and_right_matter(transform: str, protocol: str) -> None:
    cfg = compose_config([f"transform={transform}"])
    found = build_transform(cfg, **CROPS[protocol])
    assert found.flip == 0
    assert not any(box.flip for box in found.fixed(64, 64))
    kept = build_transform(compose_config([f"transform={transform}", "data.mirror=true"]), **CROPS[protocol])
    same = [box for box in kept.fixed(64, 64) if not box.flip]
    assert found.fixed(64, 64) == same  # the others are all there, in the same order


def test_which_data_keep_their_labels() -> None:
    for data, keeps in (
        ("moving_patterns", False),
        ("moving_patterns_order", False),
        ("ucf101", True),
        ("folder", True),
    ):
        cfg = compose_config([f"data={data}"])
        assert mirrors(cfg) is keeps
        del cfg.data.mirror  # a run of before
        assert mirrors(OmegaConf.create(cfg)) is keeps
    assert mirrors(compose_config(["data=folder", "data.mirror=false"])) is False


def test_the_run_says_what_is_left_out() -> None:
    assert mirror_note(compose_config([])) == ""
    assert mirror_note(compose_config(["data=ucf101"])) == ""
    note = mirror_note(compose_config(["transform=paper"]))
    assert note.startswith("data.mirror=false")
    assert "flip, test_flip" in note
    assert "test=ten" in mirror_note(compose_config([]), **CROPS["tsn"])


@pytest.mark.parametrize("data", ["moving_patterns", "folder"])
def test_a_run_of_before_can_be_told(data: str, tmp_path: Path) -> None:
    cfg = compose_config([f"data={data}", "data.root=x"])
    del cfg.data.mirror
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    found = load_config(tmp_path)
    assert found.data.mirror is (data == "folder")
    assert change_config(found, ["data.mirror=false"]).data.mirror is False


def test_runs_that_mirror_and_runs_that_do_not_are_on_the_same_data(tmp_path: Path) -> None:
    described = []
    for mirror in ("true", "false"):
        cfg = compose_config(["data=folder", "data.root=x", f"data.mirror={mirror}"])
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        described.append(data_of(Cell("run", tmp_path, {}, "finished")))
    assert described[0] == described[1] != ("", "")
