"""docs/make_moving_picture.py draws the picture of the README, which moves and is small."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_moving_picture", DOCS / "make_moving_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_readme_is_of_this_script_moves_and_is_small(script) -> None:
    picture = Image.open(DOCS / "moving.webp")
    assert picture.size == (script.WIDTH, script.HEIGHT)
    assert picture.n_frames == len(script.SCENES) * script.FRAMES
    assert (DOCS / "moving.webp").stat().st_size < 1_500_000
    assert "(docs/moving.webp)" in (DOCS.parent / "README.md").read_text()


def test_the_script_shows_a_network_its_film(script, run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(script, "FRAMES", 3)
    script.make(run, tmp_path / "x.webp")
    picture = Image.open(tmp_path / "x.webp")
    assert (picture.size, picture.n_frames) == ((script.WIDTH, script.HEIGHT), 12)


def test_scores_appear_as_they_become_known(script, run: Path, tmp_path: Path, monkeypatch) -> None:
    """Of two moments of the film, the curves of the later one reach farther to the right."""
    monkeypatch.setattr(script, "FRAMES", 8)
    script.film(tmp_path / "x.mp4")
    watching = script.Watching()
    said = script.load(run).predict(tmp_path / "x.mp4", stride=0.1, observers=[watching])
    below = (0, script.HEIGHT - 150, script.WIDTH, script.HEIGHT)
    early, late = (script.draw(now, watching.pictures, said).crop(below) for now in (16, 31))
    assert early.tobytes() != late.tobytes()
    assert len(watching.pictures) == 32
