"""Scores -> numbers of a result table (pure functions)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def class_accuracy(confusion: Int[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """Each class's share of correct videos, from counts [true, predicted]; NaN for a class without videos.

    >>> import torch
    >>> class_accuracy(torch.tensor([[3, 1], [0, 0]]))
    tensor([0.7500,    nan], dtype=torch.float64)
    """
    return confusion.diagonal().double() / confusion.sum(1).double()


def mean_class_accuracy(confusion: Int[Tensor, "k k"]) -> Float[Tensor, ""]:
    """The mean of `class_accuracy` over the classes that have videos; differs from top-1 on unbalanced sets.

    >>> import torch
    >>> mean_class_accuracy(torch.tensor([[9, 0], [1, 0]]))
    tensor(0.5000)
    """
    return class_accuracy(confusion).nanmean().float()
