"""Messages name the command that the user has: a clone has train.py, an installed wheel `twostream train`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import twostream
from twostream.config.compose import compose_config
from twostream.config.run import check_training
from twostream.config.typed import check_words
from twostream.launch.command import begins, then
from twostream.options.command import TYPED
from twostream.options.help import help_text

CFG = OmegaConf.create({"fusion": {"_target_": "twostream.models.fusion.ConvFusion"}})
STARTED = [
    ("train.py", "python train.py"),
    ("../my clone/train.py", "python '../my clone/train.py'"),
    ("twostream train", "twostream train"),  # what `twostream` puts there for its commands
    ("twostream info", "twostream train"),
    ("pretrain.py", "twostream train"),
    ("/venv/lib/ipykernel_launcher.py", "twostream train"),
]


@pytest.mark.parametrize(("program", "command"), STARTED)
def test_messages_name_the_command_of_the_user(
    program: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", [program])
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(ValueError, match="no such option") as unknown:
        compose_config(["xyz=3"])
    assert str(unknown.value) == f"xyz=3: no such option; {command} --help shows them"
    with pytest.raises(ValueError, match="without dashes") as dashes:
        check_words(["--fusio", "x"])
    assert str(dashes.value).endswith(f"; {command} --help shows them")
    with pytest.raises(ValueError, match=r"init\.rgb=required") as required:
        check_training(compose_config(["experiment=t1_conv"]))
    assert f"train one with {command} experiment=t3_vgg_m_spatial " in str(required.value)
    (tmp_path / "overrides.json").touch()
    monkeypatch.setattr("sys.argv", [program, "seed=1"])
    assert then(tmp_path, CFG, alone=True) == f"go on with: {command} resume={tmp_path}"
    examples = help_text().split("\n\n")[2]
    assert examples.count(f"  {command}") == 5


def test_torchrun_starts_it_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr("sys.argv", ["train.py"])
    (tmp_path / "overrides.json").touch()
    assert then(tmp_path, CFG, alone=True) == f"go on with: torchrun … train.py resume={tmp_path}"


STOPPED = [  # what was typed, whether its run has begun, what goes on
    (
        "train.py seed=1 layer=[conv3,conv5]",
        False,
        "nothing had begun; begin again with: python train.py seed=1 'layer=[conv3,conv5]'",
    ),
    ("train.py seed=1", True, "go on with: python train.py resume=RUN"),
    ("train.py resume=RUN", False, "go on with: python train.py resume=RUN"),
    ("train.py --config-dir=/mine seed=1", True, "go on with: python train.py resume=RUN --config-dir=/mine"),
    ("train.py -m seed=1,2", True, "go on with: python train.py -m seed=1,2"),
    ("train.py seed=1,2 --multirun", False, "go on with: python train.py seed=1,2 --multirun"),
]


@pytest.mark.parametrize(("typed", "has_begun", "told"), STOPPED)
def test_what_goes_on_after_a_stop(
    typed: str, has_begun: bool, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", typed.split())
    if has_begun:
        Path("RUN").mkdir()
        Path("RUN/overrides.json").touch()
    swept = "-m" in typed or "--multirun" in typed
    assert then(Path("RUN"), CFG, alone=not swept) == told


def test_a_run_with_code_of_the_users_own_goes_on_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "fusion._target_=mylab.fusion.Gated"])
    (tmp_path / "overrides.json").touch()
    cfg = OmegaConf.create({"fusion": {"_target_": "mylab.fusion.Gated"}, "pooling": {"_target_": "mylab.Pool"}})
    assert then(tmp_path, cfg, alone=True) == f"go on with: python train.py resume={tmp_path} --trust mylab"


def test_a_process_of_several_names_the_command_that_has_started_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cell that trains in processes of its own goes on with its sweep, not alone."""
    monkeypatch.setattr("sys.argv", ["train.py", "seed=1", "hydra.run.dir=x", "hydra.output_subdir=null"])
    (tmp_path / "overrides.json").touch()
    for typed, told in (
        ("python train.py trainer=ddp", f"python train.py resume={tmp_path}"),
        ("python train.py -m trainer=ddp seed=1,2", "python train.py -m trainer=ddp seed=1,2"),
    ):
        monkeypatch.setenv(TYPED, typed)
        assert then(tmp_path, CFG, alone=True) == f"go on with: {told}"
    monkeypatch.setenv(TYPED, "python train.py trainer=ddp")
    assert begins() == "nothing had begun; begin again with: python train.py trainer=ddp"


def test_no_message_of_the_package_names_a_script_that_a_wheel_lacks() -> None:
    """Docstrings may: they are read in a clone."""
    for path in Path(twostream.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                assert "python train.py" not in node.value, path
