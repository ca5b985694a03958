"""Computes the numbers of a result table from scores."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from .accuracy import accuracies, count_right
from .calibration import calibration, log_softmax


def measure(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Returns top-1 and, with more than five classes, top-5, of all videos and as the mean over classes; F1; loss; ECE.

    `loss` is the mean cross-entropy of these scores. `test/loss` of training is the sum over a network's heads, so it
    differs if there are several. Raises ValueError if there is no video, or if a score is not finite, as after training
    that has diverged.
    """
    require_finite(logits)
    true = np.take_along_axis(log_softmax(logits), labels[:, None], axis=1)
    return {
        **accuracies(count_right(logits, labels)),
        "loss": float(-true.mean()),
        "ece": calibration(logits, labels).error,
    }


def require_finite(logits: Float[np.ndarray, "n k"]) -> None:
    """Raises ValueError if there is no video, or if a score is not finite."""
    if not len(logits):
        raise ValueError("no video was scored")
    if broken := int((~np.isfinite(logits).all(1)).sum()):
        raise ValueError(f"the scores of {broken} of {len(logits)} videos are not finite")
