"""Logistic regression of a probe: against torch's own minimum in float64, and what its folds keep apart."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from twostream.data.balance import balanced_weights
from twostream.probe.logistic import (
    STRENGTHS,
    choose_strength,
    cross_entropy,
    fit_linear,
    grouped_folds,
    rotated,
    solve,
)


def samples(n: int = 40, d: int = 6, k: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    features = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + 3 * rng.normal(size=(k, d))[labels]
    return features, labels, [f"g{i // 4}" for i in range(n)]


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_minimum_of_the_stated_objective(num_classes, weighed):
    features, labels, _ = samples(k=num_classes)
    features = (features - features.mean(0)) / features.std(0)
    weight = torch.zeros(num_classes, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    weights = np.array([0.2, 3.0, 1.0])[labels] if weighed else None
    w = torch.ones(len(y)) if weights is None else torch.from_numpy(weights)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        losses = F.cross_entropy(x @ weight.T + bias, y, reduction="none")
        loss = (w * losses).mean() + weight.square().sum() / (2 * 10.0)
        loss.backward()
        return loss

    optimizer.step(closure)
    found, offset = solve(features, labels, 10.0, num_classes=num_classes, weights=weights)
    ours = torch.from_numpy(features @ found.T + offset).log_softmax(1)
    theirs = (x @ weight.T + bias).log_softmax(1).detach()
    torch.testing.assert_close(ours, theirs, atol=5e-3 if weighed else 2e-3, rtol=0)


def test_more_features_than_samples_is_the_same_fit():
    features, labels, _ = samples(n=20, d=50)
    reduced, basis = rotated(features)
    assert reduced.shape == (20, 20)
    a, b = solve(features, labels, 1.0, num_classes=3), solve(reduced, labels, 1.0, num_classes=3)
    np.testing.assert_allclose(features @ a[0].T, reduced @ b[0].T, atol=1e-3)
    assert basis is not None
    np.testing.assert_allclose(a[0], b[0] @ basis, atol=1e-3)


def test_scores_are_in_the_units_of_the_features():
    features, labels, groups = samples()
    fit = fit_linear(features, labels, groups, num_classes=4)
    assert fit.strength in STRENGTHS
    assert (fit.scores(features).argmax(1) == labels).mean() > 0.8
    moved = fit_linear(features * 1000 - 7, labels, groups, num_classes=4)
    np.testing.assert_allclose(fit.scores(features)[:, :3], moved.scores(features * 1000 - 7)[:, :3], atol=1e-2)
    assert (fit.scores(features)[:, 3] < fit.scores(features)[:, :3].min(1)).all()  # never seen


def test_a_feature_that_does_not_vary_has_no_weight():
    features, labels, groups = samples()
    features[:, 0] = 5.0
    assert (fit_linear(features, labels, groups, num_classes=3).weight[:, 0] == 0).all()


def test_folds_keep_groups_together():
    _, labels, groups = samples()
    folds = grouped_folds(labels, groups, 5)
    assert len(folds) == 5
    for kept, held in folds:
        assert not {groups[i] for i in kept} & {groups[i] for i in held}
    assert sorted(i for _, held in folds for i in held) == list(range(40))
    assert grouped_folds(labels, ["one"] * 40, 5) == []


def test_strength_is_chosen_on_groups_not_on_copies():
    """Copies of a video in one group: by samples the weakest penalty would win, by groups a strong one does."""
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 2, 20), 5)
    noise = np.repeat(rng.normal(size=(20, 30)), 5, axis=0)
    by_groups = choose_strength(noise, labels, [f"v{i // 5}" for i in range(100)], num_classes=2)
    by_samples = choose_strength(noise, labels, [str(i) for i in range(100)], num_classes=2)
    assert by_groups < by_samples


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="two classes"):
        fit_linear(np.zeros((4, 2)), np.zeros(4, int), list("abcd"), num_classes=2)


def test_what_hardly_varies_in_training_decides_nothing() -> None:
    """A cluster of VLAD that no training video has: rounding errors there, and anything in a test video."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10)
    features = np.stack([labels + 0.1 * rng.standard_normal(20), 1e-5 * rng.standard_normal(20)], 1)
    found = fit_linear(features, labels, [str(number) for number in range(20)], num_classes=2)
    unusual = features + np.array([0.0, 0.01])
    assert np.abs(found.scores(unusual) - found.scores(features)).max() < 0.2 * np.ptp(found.scores(features))


def test_weights_of_classes_reach_the_fit_and_the_choice_of_the_strength():
    """A weight of 1 for all changes nothing; rare classes that count more are found more often."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 6)
    features, groups = rng.normal(size=(66, 3)) + 1.2 * labels[:, None], [str(i) for i in range(66)]
    plain = fit_linear(features, labels, groups, num_classes=2)
    ones = fit_linear(features, labels, groups, num_classes=2, weigh=lambda labels: np.ones(2))
    np.testing.assert_allclose(ones.scores(features), plain.scores(features), atol=1e-6)
    none = fit_linear(features, labels, groups, num_classes=2, weigh=lambda labels: None)
    assert np.array_equal(none.scores(features), plain.scores(features))
    balanced = fit_linear(features, labels, groups, num_classes=2, weigh=lambda labels: balanced_weights(labels, 2))
    found = [(one.scores(features).argmax(1) == 1)[labels == 1].mean() for one in (plain, balanced)]
    assert found[0] < found[1]
    weights = balanced_weights(labels, 2)[labels]
    assert cross_entropy(np.zeros((66, 2)), labels, weights) == pytest.approx(66 * np.log(2))
    assert cross_entropy(np.zeros((66, 2)), labels, 2 * weights) == pytest.approx(132 * np.log(2))
