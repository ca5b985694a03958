"""A path that is not there is told at once, by the line that would come later."""

from __future__ import annotations

from pathlib import Path

import pytest

from twostream.config.compose import compose_config
from twostream.config.network import build_network, check_starts
from twostream.config.paths import check_paths
from twostream.launch.sweep import check_new
from twostream.options import conf_folder

BACKBONES = sorted(file.stem for file in (conf_folder() / "backbone").glob("*.yaml"))


@pytest.mark.long
@pytest.mark.parametrize("backbone", BACKBONES)
def test_weights_that_are_not_there_have_one_line(backbone: str) -> None:
    cfg = compose_config([f"backbone={backbone}", "backbone.weights=absent.pth", "transform.size=224", "sampling=clip"])
    with pytest.raises(ValueError, match=r"absent.pth': no such file; choose from") as soon:
        check_paths(cfg)
    with pytest.raises(ValueError, match=r"absent.pth") as late:
        check_starts(cfg, build_network(cfg, 10, meta=True))
    assert str(soon.value) == str(late.value)


def test_what_will_not_be_read_need_not_be_there(tmp_path: Path) -> None:
    check_paths(compose_config(["flow.store=absent", "streams=rgb"]))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    check_paths(compose_config(["data=folder", f"data.root={tmp_path}", "data.packed=absent"]))
    check_paths(compose_config([f"backbone.weights={__file__}", "data.root=absent"]))  # a cache folder is made


def test_what_is_finished_need_not_find_its_videos(tmp_path: Path) -> None:
    cfg = compose_config(["data=folder", "data.root=absent"])
    (tmp_path / "results.json").touch()
    check_new(cfg, tmp_path / "results.json")
    with pytest.raises(ValueError, match=r"data.root='absent'"):
        check_new(cfg, tmp_path / "ledger.json")
