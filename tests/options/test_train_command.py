"""Messages name the command that the user has: a clone has train.py, an installed wheel `twostream train`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import twostream
from twostream.config.compose import compose_config
from twostream.config.run import check_training
from twostream.config.typed import check_words
from twostream.launch.command import then
from twostream.options.help import help_text

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
    assert then(tmp_path, alone=True) == f"{command} resume={tmp_path} goes on"
    examples = help_text().split("\n\n")[2]
    assert examples.count(f"  {command} ") == 5


def test_torchrun_starts_it_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr("sys.argv", ["train.py"])
    (tmp_path / "overrides.json").touch()
    assert then(tmp_path, alone=True) == f"torchrun … train.py resume={tmp_path} goes on"


def test_no_message_of_the_package_names_a_script_that_a_wheel_lacks() -> None:
    """Docstrings may: they are read in a clone."""
    for path in Path(twostream.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                assert "python train.py" not in node.value, path
