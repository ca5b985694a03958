"""Optimizers with a learning rate for every role of a parameter, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from twostream.models.network.heads import classifiers
from twostream.models.network.parts import parts, towers

MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeSchedule = Callable[..., list[dict[str, Any]]]


FUSION = ("fusion", "align", "temporal", "late")  # roles of the parts that join streams or times


def parameter_groups(
    network: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    bias_factor: float = 1.0,
    head_factor: float = 1.0,
    fusion_factor: float = 1.0,
    flow_conv1_factor: float = 1.0,
    random_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Returns one group for each learning rate and decay: its name, parameters, `lr`, `weight_decay`.

    Biases, the parameters of normalisation layers, all other parameters of one dimension or none (weights of a fusion,
    exponents of a pooling), and those that a module names in `undecayed` (tokens and positions of a transformer) are
    not decayed. The factors multiply the rate of all biases, of the classifiers, of
    the spatial and temporal fusion layers, and of the flow tower's first convolution (its filters come from RGB; TSN
    trains them faster). `random_factor` multiplies the rate of towers that start from random values, and that of all
    other parameters, too, if all towers do. Frozen parameters belong to no group. Raises ValueError if every parameter
    is frozen.
    """
    factors = {"tower": 1.0, "head": head_factor, "fusion": fusion_factor, "flow_conv1": flow_conv1_factor}
    groups: dict[str, dict[str, Any]] = {}
    begin_random = starts_random(network) if random_factor != 1 else set()
    undecayed = {f"{name}.{own}" for name, part in network.named_modules() for own in getattr(part, "undecayed", ())}
    for name, role in roles(network).items():
        parameter, factor = network.get_parameter(name), factors[role]
        if name in begin_random:
            role, factor = f"random_{role}", factor * random_factor
        decayed = parameter.ndim > 1 and name not in undecayed
        if name.endswith("bias"):
            role, factor = f"{role}_bias", factor * bias_factor
        elif not decayed:
            role = f"{role}_norm"
        group = groups.setdefault(
            role,
            {
                "name": role,
                "params": [],
                "lr": learning_rate * factor,
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise ValueError("nothing to train: every parameter is frozen; choose train_from=all or an earlier stage")
    return list(groups.values())


def starts_random(network: nn.Module) -> set[str]:
    """Returns the names of the parameters of towers that start from random values; all names if every tower does."""
    found = towers(network)
    random = tuple(f"{name}." for name, tower in found.items() if tower.backbone.report is None)
    names = {name for name, _ in network.named_parameters()}
    return names if len(random) == len(found) else {name for name in names if name.startswith(random)}


def roles(network: nn.Module) -> dict[str, str]:
    """Returns {name of a trained parameter: "head" (a classifier), "fusion", "flow_conv1" or "tower"}."""
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    of_parts = [(part, *item) for part in parts(network) for item in part.module.named_parameters(prefix=part.name)]
    joining = {name for part, name, _ in of_parts if part.role in FUSION}
    flow = (name for part, name, p in of_parts if (part.stream, part.role) == ("flow", "stage") and p.ndim >= 4)
    first = next(flow, "").removesuffix("weight")
    found, heads = dict.fromkeys(trained, "tower"), classifiers(network)
    for name in trained:
        if name.rpartition(".")[0] in heads:
            found[name] = "head"
        elif name in joining:
            found[name] = "fusion"
        elif first and name.startswith(first):
            found[name] = "flow_conv1"
    return found


def sgd(
    network: nn.Module, *, learning_rate: float, momentum: float = 0.9, fused: bool | str = "auto", **groups: float
) -> Optimizer:
    """Stochastic gradient descent as in Feichtenhofer et al. 2016: momentum .9, decay 5e-4, bias rate ×2."""
    of_roles = parameter_groups(network, learning_rate=learning_rate, **groups)
    optimizer = torch.optim.SGD(of_roles, lr=learning_rate, momentum=momentum, fused=fuses(of_roles, fused))
    if momentum and optimizer.defaults["fused"]:
        # PyTorch begins without them, and leaves them as the memory was if the first step is left out
        for weight in (weight for group in of_roles for weight in group["params"]):
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer


def adamw(network: nn.Module, *, learning_rate: float, fused: bool | str = "auto", **groups: float) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019)."""
    of_roles = parameter_groups(network, learning_rate=learning_rate, **groups)
    return torch.optim.AdamW(of_roles, lr=learning_rate, fused=fuses(of_roles, fused))


def fuses(groups: list[dict[str, Any]], fused: bool | str) -> bool | None:
    """Returns whether one kernel changes all weights; of "auto", whether these are on a CUDA device, each one whole.

    None leaves the choice of another way to PyTorch.
    """
    if fused != "auto":
        return bool(fused) or None
    weights = (weight for group in groups for weight in group["params"])
    return all(weight.is_cuda and not isinstance(weight, DTensor) for weight in weights) or None


def warmup(step: int, warmup_steps: int) -> float:
    """Returns the linear warm-up factor of optimizer step `step`.

    >>> [warmup(step, 4) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _per_step(optimizer: Optimizer, factor: Callable[[int], float]) -> list[dict[str, Any]]:
    return [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]


def constant(
    optimizer: Optimizer, *, steps_per_epoch: float, epochs: int, warmup_epochs: float = 0.0
) -> list[dict[str, Any]]:
    """Keeps the rate the same throughout, after the warm-up."""
    rise = round(warmup_epochs * steps_per_epoch)
    return _per_step(optimizer, lambda step: warmup(step, rise))


def step(
    optimizer: Optimizer,
    *,
    steps_per_epoch: float,
    epochs: int,
    milestones: list[float],
    gamma: float = 0.1,
    warmup_epochs: float = 0.0,
) -> list[dict[str, Any]]:
    """Multiplies the rate by `gamma` at each milestone; milestones are epochs."""
    rise, drops = round(warmup_epochs * steps_per_epoch), [round(m * steps_per_epoch) for m in milestones]
    return _per_step(optimizer, lambda now: warmup(now, rise) * gamma ** sum(now >= drop for drop in drops))


def cosine(
    optimizer: Optimizer,
    *,
    steps_per_epoch: float,
    epochs: int,
    final_factor: float = 0.0,
    warmup_epochs: float = 0.0,
) -> list[dict[str, Any]]:
    """Lowers the rate along half a cosine, to `final_factor` of it, which the step after the last one would have.

    During the warm-up (`warmup_epochs`) the warm-up factor multiplies the cosine.
    """
    rise, total = round(warmup_epochs * steps_per_epoch), max(1, round(epochs * steps_per_epoch))

    def factor(now: int) -> float:
        progress = min(1.0, now / total)
        return warmup(now, rise) * (final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2)

    return _per_step(optimizer, factor)


def plateau(
    optimizer: Optimizer,
    *,
    steps_per_epoch: float,
    epochs: int,
    patience: int = 3,
    gamma: float = 0.1,
    monitor: str = "val/top1",
    warmup_epochs: float = 0.0,
) -> list[dict[str, Any]]:
    """Multiplies the rate by `gamma` after `patience` epochs without a new best `monitor` (the paper's rule).

    The epochs are counted in a row. The best loss is the lowest, the best of any other metric the highest; an equal
    value is no new best. Raises ValueError unless patience >= 1.
    """
    if patience < 1:
        raise ValueError(f"schedule.patience={patience!r}: must be at least 1 epoch without a new best")
    mode = "min" if monitor.endswith("loss") else "max"
    # PyTorch tolerates as many such epochs as its patience says, and drops the rate at the next one
    drop = ReduceLROnPlateau(optimizer, mode=mode, factor=gamma, patience=patience - 1, threshold=0.0)
    schedules: list[dict[str, Any]] = [{"scheduler": drop, "interval": "epoch", "monitor": monitor}]
    rise = round(warmup_epochs * steps_per_epoch)
    if rise > 1:
        ramp = LinearLR(optimizer, start_factor=1 / rise, total_iters=rise - 1)
        schedules.append({"scheduler": ramp, "interval": "step"})
    return schedules
