"""Shows what a trained network looks at, and what its filters have learned."""

from twostream.explain.grad_cam import activation_map, grad_cam, maps_to_explain
from twostream.explain.weights import (
    Shares,
    Taps,
    first_filters,
    fusion_shares,
    learned_fusions,
    learned_taps,
    tap_norms,
)

__all__ = [
    "Shares",
    "Taps",
    "activation_map",
    "first_filters",
    "fusion_shares",
    "grad_cam",
    "learned_fusions",
    "learned_taps",
    "maps_to_explain",
    "tap_norms",
]
