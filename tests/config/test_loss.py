"""What the configuration says of classes of unequal size, and which videos it means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from twostream.config.compose import compose_config
from twostream.config.loss import build_objective, labels_of, probe_weights
from twostream.config.run import build_run
from twostream.data.balance import balanced_weights
from twostream.files.errors import UserError
from twostream.launch.claim import identity
from twostream.probe.start import StartFromProbe
from twostream.training.objective import CrossEntropy

SMALL = ["data.train_clips=40", "data.test_clips=16", "num_workers=0", "logger=csv", "batch_size=8", "epochs=1"]
BALANCED = "loss.class_weights=balanced"
LABELS = np.array([0, 0, 0, 1])


def run(folder: Path, *words: str):
    return build_run(compose_config([*SMALL, *words]), folder)


def test_balanced_weights_are_of_the_videos_that_train(tmp_path: Path) -> None:
    """After validation is cut out; with refit, of all."""
    for words in (["validation_fraction=0.4"], ["validation_fraction=0.4", "refit=true"]):
        built = run(tmp_path, BALANCED, *words)
        labels = labels_of(built.data.train_set.videos)
        assert len(labels) == (40 if "refit=true" in words else 24)
        weights = np.array(built.system.objective.class_weights)
        assert weights.tolist() == balanced_weights(labels, 16).tolist()
        assert weights[labels].mean() == pytest.approx(1)
        assert not built.data.balanced
    assert run(tmp_path).system.objective == CrossEntropy()
    assert run(tmp_path, "sampler=balanced").data.balanced


def test_a_list_has_a_number_for_each_class(tmp_path: Path) -> None:
    numbers = [float(number) for number in range(1, 17)]
    built = run(tmp_path, f"loss.class_weights={numbers}".replace(" ", ""), "loss.focal=2")
    assert built.system.objective == CrossEntropy(class_weights=tuple(numbers), focal=2)
    with pytest.raises(
        UserError,
        match=r"^loss\.class_weights=\[1,2\.5\]: a list of 2; must have a number for each of the 16 classes, in "
        r"their order: checks-left, .*, …$",
    ):
        run(tmp_path / "wrong", "loss.class_weights=[1,2.5]")
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("loss.class_weights=auto", "must be balanced, a list of numbers above 0, or null"),
        ("loss.class_weights=[1,0]", "must be balanced, a list of numbers above 0, or null"),
        ("loss.focal=0", "must be a number above 0, or null"),
        ("sampler=random", "choose from balanced, null"),
        ("loss=focal", "has values of its own: loss.class_weights, loss.focal"),
    ],
)
def test_wrong_values_are_told_when_composed(word: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"{told}$"):
        compose_config([word])


def test_a_probe_counts_classes_as_training_does() -> None:
    """Weights 4/(2·3), 4/(2·1): by the loss, by the draws, or both; the list is (1, 3)."""
    expected = {
        (): None,
        (BALANCED,): [2 / 3, 2],
        ("loss.class_weights=[1,3]",): [1, 3],
        ("sampler=balanced",): [2 / 3, 2],
        ("loss.class_weights=[1,3]", "sampler=balanced"): [2 / 3, 6],
    }
    for words, weights in expected.items():
        found = probe_weights(compose_config(words), ("a", "b"), LABELS)
        assert (found if found is None else found.tolist()) == (weights if weights is None else pytest.approx(weights))


def test_the_start_of_a_run_is_weighed(tmp_path: Path) -> None:
    built = run(tmp_path, "start=probe", BALANCED)
    [probe] = [callback for callback in built.trainer.callbacks if isinstance(callback, StartFromProbe)]
    assert probe.weigh is not None
    labels = labels_of(built.data.train_set.videos)
    assert probe.weigh(labels).tolist() == balanced_weights(labels, 16).tolist()


def test_older_configurations_say_nothing_of_it() -> None:
    cfg = compose_config([])
    before = DictConfig({name: value for name, value in cfg.items() if name not in ("loss", "sampler")})
    assert build_objective(before, ("a", "b"), ()) == CrossEntropy()
    assert probe_weights(before, ("a", "b"), LABELS) is None
    assert identity(before) == identity(cfg) != identity(compose_config([BALANCED]))
    assert identity(cfg) != identity(compose_config(["sampler=balanced"]))
