"""Command lines that nearly say what was meant: one line, with what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.errors import HydraException

from twostream.config.compose import compose_config
from twostream.config.typed import check_words, unknown_option
from twostream.files.extras import install
from twostream.launch.command import run_command

WORDS = [
    ("fusion=sum,conv", "fusion=sum,conv: several values; add -m for a sweep of them"),
    ("layer=conv4,conv5", "add -m for a sweep of them, or brackets for a list: layer=[conv4,conv5]"),
    ("seed=range(3)", "seed=range(3): several values; add -m for a sweep of them"),
    ("--fusion conv", "--fusion: did you mean fusion=conv? options are typed as NAME=VALUE, without dashes"),
    ("--fusion=conv", "--fusion=conv: did you mean fusion=conv?"),
    ("-layer", "-layer: did you mean layer=…?"),
    ("--batch-size 4", "did you mean batch_size=4?"),
    ("--lr 4", "--lr: did you mean optimizer.learning_rate=4? options are typed as NAME=VALUE"),
    ("data.root = x", "data.root =: leave out the spaces beside =: data.root=x"),
    ("fusion conv", "fusion: did you mean fusion=conv?"),
    ("seed=0 conv4", "conv4: options are typed as NAME=VALUE"),
]


@pytest.mark.parametrize(("words", "told"), WORDS)
def test_words_that_are_no_override(words: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"several values|typed as NAME=VALUE|leave out the spaces") as found:
        check_words(words.split())
    assert told in str(found.value)
    assert "\n" not in str(found.value)


def test_words_that_are_right() -> None:
    for words in (
        "-m fusion=sum,conv",
        "--multirun seed=0,1",
        "--cfg job layer=[conv4,conv5]",
        "--config-dir=x ~logger",
    ):
        check_words(words.split())
    check_words(["data.root='/a, b'", "+trainer.max_steps=3"])


NAMES = [
    ("layr=conv5", "layr=conv5: no such option; did you mean layer?"),
    ("backbone.widht=2", "backbone.widht=2: no such option; did you mean backbone.width?"),
    ("learning_rate=1", "learning_rate=1: no such option; did you mean optimizer.learning_rate?"),
    ("fusion.dimension=64", "not of the options chosen here, but of fusion=compact_bilinear"),
    (
        "fusion.xyzzyxyzzy=3",
        "no such option; twostream train --help shows them; +fusion.xyzzyxyzzy=3 gives it to code of your own",
    ),
    ("xyz=3", "xyz=3: no such option; twostream train --help shows them"),
    ("fusion=sum,conv", "fusion=sum,conv: several values; choose one"),
]


@pytest.mark.parametrize(("word", "told"), NAMES)
def test_names_that_are_nearly_one(word: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"no such option|not of the options|several values") as found:
        compose_config([word])
    assert told in str(found.value)
    assert f"+{word.partition('.')[0]}=" not in str(found.value)


def test_the_first_command_of_the_readme_has_no_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`python train.py`, alone."""
    begun: list[bool] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py"])
    run_command(lambda: begun.append(True))
    assert begun


@pytest.mark.parametrize(("plug_in", "extra"), [("joblib", "joblib"), ("submitit_slurm", "submitit"), ("mine", None)])
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(plug_in: str, extra: str | None) -> None:
    said = f"In 'hydra/config': Could not find 'hydra/launcher/{plug_in}'\n\nAvailable options in 'hydra/launcher':"
    how = f"; {install(extra)}" if extra else ""
    told = f"hydra/launcher={plug_in}: no such plug-in of Hydra is installed{how}"
    assert unknown_option(HydraException(said)) == told
