"""--help of the command that trains: everything in conf/ stands there, in lines that fit, without a heavy package."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain

import pytest

from twostream.options import Value, conf_folder, read_table
from twostream.options.help import (
    EXAMPLES,
    MORE,
    SECTIONS,
    TYPED,
    WIDTH,
    first_comment,
    headings,
    help_text,
    read_groups,
    values_of,
)
from twostream.options.table import ROOT

CONF = conf_folder()
PLAIN: list[Value] = [value for part in read_table()[ROOT].values() for value in values_of(part)]


@pytest.fixture(autouse=True)
def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_option_and_value_stands_there_with_what_it_is_and_may_be() -> None:
    text = help_text()
    for group, (default, comment) in read_groups(CONF).items():
        assert comment, f"{group}: say in conf/config.yaml what it is about"
        assert flat(f"{group}={default} {comment}") in flat(text)
    for path in CONF.glob("*/*.yaml"):
        assert first_comment(path), f"{path}: say in its first comment what it is"
        assert flat(f" {path.stem} {first_comment(path)}") in flat(text), path
    for value in PLAIN:
        rule, _, what = value.comment.partition("; ")
        assert flat(f"{value.name}={value.default} {what} [{rule}]") in flat(text), value
    lines = help_text(["flow=raft", "fusion=weighted"])
    assert "  flow.iterations=12          refinements of the field [whole >= 1]\n" in lines
    assert "  fusion.weights=[1.0, 1.0]   " in lines


def test_it_begins_with_what_it_does_and_examples_and_ends_with_where_more_is_told() -> None:
    text = help_text()
    what, examples, typed = text.split("\n\n")[0], text.split("\n\n")[2], text.split("\n\n")[4]
    assert len(re.findall(r"[a-z]\.(?: |$)", flat(what))) == 2, "two sentences"
    assert [line.split("  ")[1] for line in examples.splitlines()] == [
        f"python train.py {words}".strip() for words in EXAMPLES
    ]
    assert len(EXAMPLES) == 5
    assert all(any(word in key for key in TYPED) for word in ("-m", "resume=", "backbone@flow_backbone=", "--help"))
    assert len(typed.splitlines()) == len(TYPED), "a line each"
    assert [line.split("  ")[1] for line in text.rpartition("MORE\n\n")[2].splitlines()] == [*MORE]


def test_every_group_and_value_has_a_section() -> None:
    assert sorted(chain(*SECTIONS.values())) == sorted(read_groups(CONF))
    assert {key for keys in headings(CONF).values() for key in keys} >= {value.name.split(".")[0] for value in PLAIN}
    assert len(headings(CONF)) >= 5


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_its_lines_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be broken, such as the line of an example, may stick out of a narrow one."""
    monkeypatch.setenv("COLUMNS", str(columns))
    widest = max(len(line) for line in help_text().splitlines())
    assert widest <= max(64, min(columns, WIDTH))  # no word is broken


def test_the_help_of_what_is_named_alone() -> None:
    text = help_text(["fusion=gated", "epochs", "loss", "flow.bound=3"])
    assert len(text.splitlines()) < 70
    named = re.findall(r"^  ([\w.@]+)=", text, re.M)
    assert named == [
        *("flow", "fusion", "epochs", "loss.class_weights", "loss.focal"),
        *("flow.preset", "flow.length", "flow.bound", "flow.short_side", "flow.store", "fusion.per"),
    ]
    assert "python train.py --help      all of the help" in text
    assert "backbone=" not in text
    assert help_text(["nosuch=3", "-m"]) == help_text()
    second = help_text(["backbone@flow_backbone=vgg_m"])
    assert "VALUES of backbone@flow_backbone=vgg_m\n\n  flow_backbone.width=1.0 " in second


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'hydra', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CONF.parent)
    assert shown.stdout == help_text() + "[]\n", shown.stderr
