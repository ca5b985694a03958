"""The notebooks run from top to bottom, and what they have printed and drawn is kept, small, and still true."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

from PIL import Image  # noqa: E402

from notebooks import execute  # noqa: E402

ROOT = Path(__file__).parents[1]
EACH = pytest.mark.parametrize("path", execute.NOTEBOOKS, ids=lambda path: path.stem)
[URL] = re.findall(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
OF_HERE = re.compile(
    r"/(?:home|tmp|root|work|Users|opt)/|\x1b|\r|━|20\d\d-\d\d-\d\d|\d (?:s|min)(?:\)|$)|\d (?:clips|videos)/s", re.M
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_there_is_one_for_each_question() -> None:
    assert [path.name[0] for path in execute.NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@EACH
def test_outputs_are_kept(path: Path) -> None:
    nbformat.validate(read(path))
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert all(cell.outputs for cell in cells if cell.source.startswith("!"))
    assert execute.headlines(read(path))
    assert all(execute.headlines(read(path)))


@EACH
def test_outputs_name_no_machine_and_no_moment(path: Path) -> None:
    for output in [output for cell in code(path) for output in cell.outputs]:
        texts = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
        assert not [text for text in texts if OF_HERE.search(text)]
    assert read(path).metadata.language_info == {"name": "python"}  # without a version
    assert not any("execution" in cell.metadata for cell in code(path))


def test_outputs_are_small() -> None:
    sizes = [path.stat().st_size for path in execute.NOTEBOOKS]
    assert max(sizes) < 400_000
    assert sum(sizes) < 1_500_000


@EACH
def test_the_first_cell_has_a_badge_that_opens_it(path: Path) -> None:
    assert URL.startswith("https://github.com/")
    page = f"https://colab.research.google.com/github/{URL.removeprefix('https://github.com/')}/blob/main"
    badge = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    assert f"\n\n{badge}({page}/notebooks/{path.name})\n\n" in read(path).cells[0].source


@EACH
@pytest.mark.parametrize(
    ("found", "clone", "asked"),
    [(True, False, []), (False, True, []), (False, False, [("pip", f'install --quiet "twostream @ git+{URL}"')])],
    ids=["installed", "a clone", "hosted"],
)
def test_the_first_code_cell_installs_only_what_is_missing(
    path: Path, found: bool, clone: bool, asked: list[tuple[str, str]], tmp_path: Path, monkeypatch: Any
) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    if not found:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(path.parent if clone else tmp_path)
    ran: list[tuple[str, str]] = []
    shell = type("Shell", (), {"run_line_magic": lambda _self, name, line, **_: ran.append((name, line))})()
    exec(TransformerManager().transform_cell(code(path)[0].source), {"get_ipython": lambda: shell})
    assert ran == asked


def test_texts_are_cleaned(tmp_path: Path) -> None:
    for text, kept in {
        f"rendering 80 clips into {tmp_path}/cache/x": "rendering 80 clips into ~/.cache/twostream/x",
        f"-> {tmp_path}/runs/a": "-> runs/a",
        "epoch 1/2  2.41  4 s\ntrained in 1.5 h\nall (1.2 s)": "epoch 1/2  2.41  …\ntrained in …\nall (…)",
        "12 frames, 1.1 s, 93.0 clips/s": "12 frames, 1.1 s, … clips/s",
        "[−90.9, +44.4] 28.7 – 33.0": "[−90.9, +44.4] …",
    }.items():
        assert execute.clean_text(text, tmp_path) == kept


def test_pictures_are_made_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 1600, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    output = nbformat.v4.new_output("display_data", data={"image/png": base64.b64encode(file.getvalue()).decode()})
    execute.clean(output, Path("nowhere"))
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
    assert picture.size == (800, 150)
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) <= execute.COLOURS


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ("late 0.25 of 80", True),
        ("late 0.45 of 80", True),
        ("late 0.46 of 80", False),
        ("late 0.25 of 81", False),
        ("late 0.25", False),
        ("fused 0.25 of 80", False),
    ],
)
def test_headlines_are_compared(found: str, holds: bool) -> None:
    assert execute.agree("late 0.25 of 80", found) == holds


def test_the_site_shows_outputs_and_fetches_nothing(monkeypatch: Any) -> None:
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import build_site

    for path in execute.NOTEBOOKS:
        page = build_site.as_markdown(path)
        assert all(line in page for text in execute.headlines(read(path)) for line in text.splitlines())
        assert page.count("data:image/png;base64,") == path.read_text().count('"image/png": "')
        assert "colab-badge.svg" not in page
        assert "[Open in Colab](https://colab" in page


@pytest.mark.notebooks
@EACH
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    found = execute.headlines(execute.execute(path, tmp_path))
    print(f"{path.stem}: {time.monotonic() - started:.0f} s")
    stale = [pair for pair in zip(execute.headlines(read(path)), found, strict=True) if not execute.agree(*pair)]
    assert not stale, "stored and found; `python notebooks/execute.py` makes outputs anew"


@pytest.mark.notebooks
def test_a_command_that_fails_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "failing.ipynb"
    cell = nbformat.v4.new_code_cell("code = 3\n!echo said; exit {code}")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    with pytest.raises(Exception, match=r"said(?s:.*)exit status 3"):
        execute.execute(path, tmp_path)
