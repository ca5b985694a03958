"""Every command on one configuration; each has to do what it says, or to say in one line why not, before any work."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from warm import Warm

from twostream.config.protocols import PROTOCOLS
from twostream.data.sources import Video
from twostream.metrics.scores import Scores

ROOT = Path(__file__).parents[2]
FORMATS = ("safetensors", "torch-export", "onnx")
NOT_THE_REASON = ("usage:", "Error executing job with overrides")  # of argparse, of Hydra
ASKED_FOR = (
    "as data.missing=skip asks|no test videos for|No CUDA runtime is found"  # of data sets here in part; of PyTorch
)
ONE_OF_OURS = re.compile(r"error: .+|twostream \w+: error: .+")


class CommandError(AssertionError):
    """What a command did that it must not do."""


class RefusedError(Exception):
    """The one line of a command that does not take the configuration."""


class Commands:
    """Runs command lines for one cell in `folder`; `said`: {command: "passed" or the line it was refused with}."""

    def __init__(self, warm: Warm, environment: Mapping[str, str], folder: Path) -> None:
        self.warm, self.environment, self.folder = warm, environment, folder
        self.run = folder / "run"
        self.said: dict[str, str] = {}

    def all(self, words: Sequence[str], only: Sequence[str] = ()) -> dict[str, str]:
        """Every command, or those named, in the order of a user's day; `said` in the end. Raises `CommandError`."""
        if not self.does("train", lambda: self.train(words)):
            return self.said
        video = self.test_video()
        acts: dict[str, Callable[[], None]] = {
            "resume": lambda: self.resume(words),
            **{f"evaluate {protocol}": partial(self.evaluate, protocol) for protocol in PROTOCOLS},
            "evaluate streams": self.evaluate_streams,
            "predict": lambda: self.predict(video),
            "inspect": lambda: self.inspect(video),
            **{f"export {form}": partial(self.export, form, video) for form in FORMATS},
            "report": self.report,
        }
        if self.config("epochs") == 0:
            del acts["resume"]  # there is no step to stop after
        for command, act in acts.items():
            if not only or command in only:
                self.does(command, act)
        return self.said

    def does(self, command: str, act: Callable[[], None]) -> bool:
        """Whether it passed; else it was refused."""
        try:
            act()
        except RefusedError as refusal:
            self.said[command] = str(refusal)
            return False
        except AssertionError as problem:
            raise CommandError(f"{command}: {problem}") from problem
        self.said[command] = "passed"
        return True

    def call(self, *arguments: object, expected: int = 0) -> subprocess.CompletedProcess[str]:
        """A command that ends well and says nothing on stderr; or `RefusedError`: the line it ends with."""
        words = [str(argument) for argument in arguments]
        done = self.warm.run(words, cwd=self.folder, env=self.environment, timeout=570)
        heard = [line for line in done.stderr.splitlines() if line.strip() and not re.search(ASKED_FOR, line)]
        if done.returncode in (1, 2) and expected not in (1, 2):
            told = [line for line in heard if not line.startswith(NOT_THE_REASON)]
            assert [line for line in told if ONE_OF_OURS.match(line)] == told[:1], done.stderr[-3000:]
            raise RefusedError(told[0])
        assert done.returncode == expected, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-3000:]}"
        if expected == 0:
            assert not heard, f"warned: {done.stderr[-3000:]}"
        return done

    def train(self, words: Sequence[str]) -> None:
        try:
            self.call(ROOT / "train.py", *words, f"hydra.run.dir={self.run}")
        except RefusedError as refused:
            if any((self.run / name).exists() for name in ("checkpoints", "metrics.csv")):
                raise CommandError(f"refused after work had begun: {refused}") from refused
            raise
        results = json.loads((self.run / "results.json").read_text())
        check_finite(results["metrics"])
        with open(self.run / "metrics.csv") as rows:
            check_finite(
                {f"{row['step']} {name}": float(x) for row in csv.DictReader(rows) for name, x in row.items() if x}
            )

    def resume(self, words: Sequence[str]) -> None:
        """Stopped after the first step and gone on with: the numbers of the run that was not stopped."""
        folder = self.folder / "stopped"
        script = ROOT / "tests" / "matrix" / "interrupted_train.py"
        stopped = self.call(script, *words, f"hydra.run.dir={folder}", expected=143)
        assert "go on with: " in stopped.stderr
        assert not (folder / "results.json").exists()
        done = self.call(ROOT / "train.py", f"resume={folder}")
        assert "going on " in done.stdout, done.stdout
        for ours, theirs in zip(metrics_of(self.run).items(), metrics_of(folder).items(), strict=True):
            assert ours[0] == theirs[0]
            assert close(ours[1], theirs[1], 1e-4), f"{ours} uninterrupted, {theirs} after a stop"

    def evaluate(self, protocol: str) -> None:
        left = self.run / "evaluation" / f"{protocol}-test"
        try:
            self.call("-m", "twostream.cli", "evaluate", self.run, "--protocol", protocol)
        except RefusedError:
            assert not left.exists(), "refused, yet there is an evaluation"
            raise
        found = json.loads((left / "metrics.json").read_text())
        found = found.get("metrics", found)
        check_finite({name: value for name, value in found.items() if isinstance(value, float)})
        if protocol == "train":
            scores = [Scores.load(path) for path in (self.run / "test_scores.npz", left / "scores.npz")]
            near = 0.05 if self.mixed() else 1e-3
            assert np.allclose(*(one.logits for one in scores), rtol=near, atol=near), "other scores than train.py's"
            if not self.mixed():  # in eight bits of precision, equal scores are frequent, and their order is chance
                check_equal({name: found[name] for name in ("top1", "top5") if name in found}, self.tested())

    def evaluate_streams(self) -> None:
        """Shown whole, the videos have the scores of `quick`; a network of one stream is refused."""
        left = self.run / "evaluation"
        try:
            self.call("-m", "twostream.cli", "evaluate", self.run, "--protocol", "quick", "--streams")
        except RefusedError as refused:
            if "--streams: the run has one stream" in str(refused):
                return
            raise
        scores = [Scores.load(left / name / "scores.npz") for name in ("quick-test", "quick-test-streams")]
        near = 0.05 if self.mixed() else 1e-3
        assert np.allclose(*(one.logits for one in scores), rtol=near, atol=near), "other scores than without --streams"

    def mixed(self) -> bool:
        return self.config("precision") != "32-true"

    def tested(self) -> dict[str, float]:
        """What the test of train.py measured, by the names of an evaluation."""
        return {
            name: value
            for key, value in metrics_of(self.run).items()
            if (name := key.removeprefix("test/")) in ("top1", "top5")
        }

    def predict(self, video: Video) -> None:
        """One window of the whole video is the one clip of `evaluate --protocol quick`."""
        output = self.folder / "predicted.json"
        arguments = (
            "predict",
            self.run,
            video.path,
            "--window",
            1000,
            "--json",
            output,
            "--top",
            1000,
            "--device",
            "cpu",
        )
        self.call("-m", "twostream.cli", *arguments)
        scores = Scores.load(self.run / "evaluation" / "quick-test" / "scores.npz")
        logits = scores.logits[list(scores.videos).index(video.id)].astype(np.float64)
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        found = np.array(json.loads(output.read_text())["videos"][0]["scores"])
        worst = float(np.abs(found - expected).max())
        assert worst <= (0.05 if self.mixed() else 2e-3), f"{found} predicted, {expected} evaluated by quick"

    def inspect(self, video: Video) -> None:
        done = self.call("-m", "twostream.cli", "inspect", self.run, video.path)
        pictures = [Path(line) for line in done.stdout.splitlines()]
        assert any(picture.name == "grad_cam.png" for picture in pictures), done.stdout
        assert all(picture.stat().st_size > 500 for picture in pictures)

    def export(self, form: str, video: Video) -> None:
        """The command itself compares the exported network with the original, on noise and on a video."""
        to = self.folder / form
        try:
            done = self.call(
                "-m", "twostream.cli", "export", self.run, "--format", form, "--to", to, "--video", video.path
            )
        except RefusedError:
            assert not to.exists(), "refused, yet there is an export"
            raise
        assert video.path.name in done.stdout
        if form == "safetensors":  # it is a run folder
            self.call("-m", "twostream.cli", "evaluate", to, "--protocol", "train", *self.where_the_data_are())
            there = [folder / "evaluation" / "train-test" for folder in (self.run, to)]
            if there[0].exists():
                check_equal(*map(metrics_at, there))

    def report(self) -> None:
        done = self.call("-m", "twostream.cli", "report", self.folder)
        shown = (self.folder / "report" / "report.html").read_text()
        top1 = metrics_of(self.run)["test/top1"]
        assert f"{100 * top1:.1f}" in shown or f"{100 * top1:.2f}" in shown, done.stdout

    def where_the_data_are(self) -> list[str]:
        """An exported configuration has no paths of this machine."""
        root = self.config("data.root")
        return ["--root", str(root)] if root else []

    def config(self, key: str) -> Any:
        from omegaconf import OmegaConf

        return OmegaConf.select(OmegaConf.load(self.run / "config.yaml"), key)

    def test_video(self) -> Video:
        """The first test video of the run."""
        from omegaconf import OmegaConf

        from twostream.config.data import build_source

        return build_source(OmegaConf.load(self.run / "config.yaml")).test[0]  # type: ignore[arg-type]


def metrics_of(run: Path) -> dict[str, float]:
    return json.loads((run / "results.json").read_text())["metrics"]


def metrics_at(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "metrics.json").read_text())
    return {
        name: value
        for name, value in found.get("metrics", found).items()
        if isinstance(value, float) and name != "seconds"
    }


def check_finite(numbers: Mapping[str, float]) -> None:
    wrong = {name: value for name, value in numbers.items() if not math.isfinite(value)}
    assert not wrong, f"not finite: {wrong}"


def check_equal(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    differing = {name: (ours[name], theirs[name]) for name in ours if not close(ours[name], theirs[name], 1e-4)}
    assert not differing, f"original and export differ: {differing}"


def close(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(1.0, abs(one))
