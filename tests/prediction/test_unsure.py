"""Where a network is not sure, its pictures say so, by the same rule as the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from twostream.prediction.annotated import AnnotatedFilm
from twostream.prediction.predictor import Prediction, Seen
from twostream.prediction.sheet import sheet_column, sheet_title

CLASSES = ("jump", "$run$", "wave")
FLAT, SURE = np.float32([0.31, 0.39, 0.30]), np.float32([0.29, 0.41, 0.30])  # below and above 1/3 + 2/30 = 0.4


def prediction(scores: np.ndarray, thresholds: np.ndarray | None = None) -> Prediction:
    return Prediction("clips/a.mp4", CLASSES, 10, np.float32([[0, 2]]), scores[None], scores, thresholds)


def test_a_contact_sheet() -> None:
    told = "a.mp4: not sure: is this the kind of video it was trained on?\nmost probable: \\$run\\$ 0.39"
    assert sheet_title(prediction(FLAT)) == told
    assert sheet_title(prediction(SURE)) == "a.mp4: \\$run\\$ 0.41"


def test_a_column_of_it(monkeypatch) -> None:
    monkeypatch.setattr("twostream.prediction.sheet.pictures_at", lambda *_: {})
    window: Any = type("Window", (), {"shown": np.arange(3), "seconds": (0.0, 2.0)})()
    view: Any = None

    def title(scores: np.ndarray, thresholds: np.ndarray | None = None) -> str:
        seen = Seen(scores[None], scores, {})
        return sheet_column(prediction(scores, thresholds), window, seen, view).title

    assert title(FLAT) == "1.0 s\nnot sure: \\$run\\$ 0.39"
    assert title(SURE) == "1.0 s\n\\$run\\$ 0.41"
    assert title(FLAT, np.full(3, 0.5)) == "1.0 s\n\\$run\\$ 0.39", "thresholds judge several labels"


def test_a_film(tmp_path: Path) -> None:
    view: Any = None

    def heading(scores: np.ndarray, *, multi: bool = False) -> str:
        path = tmp_path / "a.mp4"
        film = AnnotatedFilm(path, title="a", classes=CLASSES, view=view, maps=[], duration=None, multi=multi)
        return film.heading(Seen(scores[None], scores, {}))

    assert heading(FLAT) == "this window: not sure"
    assert heading(SURE) == heading(FLAT, multi=True) == "this window"
