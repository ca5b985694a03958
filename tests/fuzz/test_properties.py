"""What hypothesis thinks of: whole lists, tables and JSON documents instead of bytes that are flipped.

`FUZZ_EXAMPLES=2000 pytest tests/fuzz/test_properties.py` tries so many of each.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from kinds import CLASSES, GROUPS, KINDS, SWEEP
from omegaconf import OmegaConf
from worker import judge

from twostream.config.compose import run_in
from twostream.data.storage.container import Container, write_container

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
few = settings(deadline=None, derandomize=True, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

names = st.text() | st.sampled_from([f"{name}/v_{name}_{group}_c01.avi" for name in CLASSES for group in GROUPS])
usual = ["", "run", "jump", "train", "\0", "0", "1", "-1"]
words = names | st.integers().map(str) | st.floats().map(str) | st.sampled_from(usual)
lines = st.lists(st.lists(words, max_size=4).map(" ".join), max_size=6).map("\n".join)
numbers = st.integers() | st.floats() | st.sampled_from([2**63, -1, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def table(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


headers = st.sampled_from([["video", "label", "group", "split"], ["video", "split"], ["epoch", "step", "val/top1"]])
rows = st.lists(st.lists(words, min_size=1, max_size=5), max_size=6)
tables = st.tuples(headers, rows).map(lambda parts: table([parts[0], *parts[1]]))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind."""
    folders = {}
    for name in ("UCF101 lists", "HMDB51 lists", "folder CSV", "metrics.csv", "sweep folder", "flow store"):
        folders[name] = tmp_path_factory.mktemp("good") / "input"
        folders[name].mkdir()
        KINDS[name].make(folders[name])
    return folders


def check(folder: Path, kind: str, name: str, content: str) -> None:
    """Read it with this content of a file, which is then what it was."""
    path = folder / name
    before = path.read_bytes()
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        outcome = judge(KINDS[kind], folder, "hypothesis", name)
    finally:
        path.write_bytes(before)
    event(outcome.verdict)  # --hypothesis-show-statistics
    assert outcome.verdict != "finding", outcome.text


@few
@given(part=st.data())
def test_lists(good: dict[str, Path], part: st.DataObject) -> None:
    kind = part.draw(st.sampled_from(["UCF101 lists", "HMDB51 lists"]))
    name = part.draw(st.sampled_from(KINDS[kind].files))
    kept = (good[kind] / name).read_text().splitlines()
    place = part.draw(st.integers(0, len(kept)))
    content = "\n".join([*kept[:place], part.draw(lines), *kept[place + part.draw(st.integers(0, 1)) :]])
    check(good[kind], kind, name, content)


@few
@given(content=tables | lines)
def test_tables(good: dict[str, Path], content: str) -> None:
    check(good["folder CSV"], "folder CSV", "split.csv", content)
    check(good["metrics.csv"], "metrics.csv", "metrics.csv", content)


def changed(document: Any, part: st.DataObject) -> Any:
    """One of its values, at any depth, another."""
    if isinstance(document, dict | list) and document and part.draw(st.sampled_from([True] * 5 + [False])):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = part.draw(st.sampled_from(keys))
        document[key] = changed(document[key], part)
        return document
    return part.draw(words | values)


@few
@given(part=st.data())
def test_documents(good: dict[str, Path], part: st.DataObject) -> None:
    """The manifest of a store."""
    folder = good["flow store"]
    document = json.loads((folder / "jpeg" / "manifest.json").read_text())
    check(folder, "flow store", "jpeg/manifest.json", json.dumps(changed(document, part)))


@settings(few, max_examples=EXAMPLES // 2)
@given(part=st.data())
def test_what_runs_leave(good: dict[str, Path], part: st.DataObject) -> None:
    folder, name = good["sweep folder"], part.draw(st.sampled_from([name for name in SWEEP if name.endswith("json")]))
    document = json.loads((folder / name).read_text())
    check(folder, "sweep folder", name, json.dumps(changed(document, part)))


@few
@given(
    blobs=st.lists(st.binary(max_size=200), max_size=8),
    header=st.dictionaries(st.text(), plain, max_size=3),
)
def test_containers_give_back_what_went_in(tmp_path_factory, blobs: list[bytes], header: dict) -> None:
    path = tmp_path_factory.mktemp("container") / "x"
    write_container(path, iter(blobs), header=header)
    container = Container(path)
    assert [container[index] for index in range(len(container))] == blobs
    assert container.header == header


@few
@example("/it's \\'${oc.env:HOME}\\")
@given(st.text(st.characters(exclude_categories=["C"]), min_size=1))
def test_a_folder_of_any_name_is_that_of_the_run(name: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    value = OverridesParser.create().parse_override(run_in(Path("/x") / name)).value()
    assert OmegaConf.create({"dir": str(value)}).dir == str(Path("/x") / name)
