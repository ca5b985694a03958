"""The one definition of each number, used by training, evaluation, score fusion and report."""

from .accuracy import TOP, class_accuracies, confused_pairs, confusion_of, count_right, ranks
from .calibration import BINS, Calibration, calibration, log_softmax
from .measure import measure

__all__ = [
    "BINS",
    "TOP",
    "Calibration",
    "calibration",
    "class_accuracies",
    "confused_pairs",
    "confusion_of",
    "count_right",
    "log_softmax",
    "measure",
    "ranks",
]
