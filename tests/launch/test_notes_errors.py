"""What a run that fails leaves in its folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from twostream.files.errors import UserError
from twostream.launch import command


def test_a_run_that_can_still_go_on_is_not_noted_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where `resume=RUN_DIR epochs=3` is refused."""

    def refuse(_: object) -> None:
        raise UserError("the configuration has changed")

    hydra = SimpleNamespace(runtime=SimpleNamespace(output_dir=str(tmp_path)), mode=RunMode.RUN)
    monkeypatch.setattr(command.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(command, "check_values", lambda _: None)
    left = tmp_path / "checkpoints" / "recovery-00001-0000000.ckpt"
    left.parent.mkdir()
    left.touch()
    for noted in (False, True):
        with pytest.raises(SystemExit, match="configuration has changed"):
            command.notes_errors(refuse)(OmegaConf.create({}))
        assert (tmp_path / "error.txt").exists() == noted
        left.unlink(missing_ok=True)
