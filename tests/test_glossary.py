"""docs/glossary.md: one or two sentences a word, and every option, command, file and metric in it exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_readme import of_first_cell

from twostream.cli.commands import COMMANDS
from twostream.config.compose import compose_config
from twostream.models.stages import STAGES
from twostream.training.system import LOGGED

ROOT = Path(__file__).parent.parent
ENTRIES = {
    word: " ".join(text.split())
    for word, text in re.findall(
        r"^- \*\*(.+?)\*\*: (.+?)(?=\n- |\n\n|\Z)", (ROOT / "docs/glossary.md").read_text(), re.M | re.S
    )
}
NAMED = sorted({code for text in ENTRIES.values() for code in re.findall(r"`([^`]+)`", text)})
README = " ".join((ROOT / "README.md").read_text().split())


@pytest.mark.parametrize("word", ENTRIES)
def test_an_entry_is_one_or_two_sentences(word: str) -> None:
    text = re.sub(r"`[^`]*`", "code", ENTRIES[word])
    assert text.endswith(".")
    assert 1 <= len(re.findall(r"\.(?: |$)", text)) <= 2


@pytest.mark.long
@pytest.mark.parametrize("code", NAMED)
def test_what_an_entry_names_exists(code: str) -> None:
    if code.startswith("twostream "):
        _, command, *words = code.split()
        source = (ROOT / f"twostream/cli/{command}.py").read_text()
        assert command in COMMANDS
        assert all(f'"{word}"' in source for word in words if word.startswith("--"))
    elif "=" in code and code != "resume=RUN_DIR":
        words = [of_first_cell(word) for word in code.removeprefix("python train.py -m ").split()]
        compose_config([*(["data=folder"] if "data." in code else []), *words])
    elif code.startswith("test/"):
        assert code.removeprefix("test/") in {*LOGGED.values(), "map"}
    elif code.endswith(".json"):
        assert f'"{code}"' in (ROOT / "twostream/evaluation/report.py").read_text()
    elif code not in (*STAGES, "python train.py -m", "resume=RUN_DIR"):
        parent, _, key = code.rpartition(".")
        configs = [compose_config([]), compose_config(["data=folder"])]
        assert any(key in (OmegaConf.select(cfg, parent) if parent else cfg) for cfg in configs)


def test_the_readme_explains_its_words_and_so_does_the_glossary() -> None:
    for word in ("stream", "tower", "chunk", "group", "leak", "cell", "view", "protocol", "fusion point"):
        assert f"*{word}*" in README
        assert word in ENTRIES
    assert {"T", "L", "ECE"} <= ENTRIES.keys()
    assert "T = 3 chunks of L = 10 flow fields" in README
    assert "ECE, the *expected calibration error*" in README
    assert "Three seeds cannot be significant by seeds alone" in README
