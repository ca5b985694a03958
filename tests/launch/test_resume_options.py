"""An interrupted run of any option goes on by `resume=RUN_DIR`."""

from __future__ import annotations

from pathlib import Path

from twostream.config.saved import own_interpolations
from twostream.launch.resume import check_overrides
from twostream.options import conf_folder

REFERRING = sorted(path for path in conf_folder().glob("*/*.yaml") if ": ${" in path.read_text())


def test_options_that_refer_to_others_go_on(tmp_path: Path) -> None:
    """The `weights: ${weights}` of a backbone is of conf/, not of the run's folder."""
    assert "${weights}" in own_interpolations()
    assert len(REFERRING) >= 9
    for path in REFERRING[:2]:
        check_overrides([f"{path.parent.name}={path.stem}", f"backbone@flow_backbone={path.stem}"], tmp_path)
