"""The one definition of each number, used by training, evaluation, score fusion and report."""

from .accuracy import TOP, class_accuracies, class_f1, confused_pairs, confusion_of, count_right, ranks, untested
from .calibration import BINS, Calibration, calibration, log_softmax
from .measure import measure

__all__ = [
    "BINS",
    "TOP",
    "Calibration",
    "calibration",
    "class_accuracies",
    "class_f1",
    "confused_pairs",
    "confusion_of",
    "count_right",
    "log_softmax",
    "measure",
    "ranks",
    "untested",
]
