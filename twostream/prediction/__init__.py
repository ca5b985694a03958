"""Predictions of a trained network for videos: scores over time, films, sheets."""

from twostream.prediction.predictor import Observer, Prediction, Predictor, Seen, load

__all__ = ["Observer", "Prediction", "Predictor", "Seen", "load"]
