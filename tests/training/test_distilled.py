"""The distance of features to a teacher's: by hand, and what it trains."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.data.clip import Clip
from twostream.training.distill import DistilledSystem, Teacher, teacher_facts
from twostream.training.system import TwoStreamSystem

WEIGHT = 50.0


class Linear(nn.Module):
    """Features are a linear map of a clip's numbers, scores one of the features; has dropout and running means."""

    def __init__(self, inputs: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.below, self.head = nn.Linear(inputs, 3), nn.Linear(3, 2)
        self.dropout, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)

    def forward(self, first: Tensor, second: Tensor | None = None, *, features: str = "") -> tuple[Tensor, Tensor]:
        assert features == "conv5"
        found = self.below(first.flatten(1).float())
        return self.head(self.norm(self.dropout(found)) if self is not STUDENT else found).unsqueeze(0), found

    def combine(self, heads: Tensor) -> Tensor:
        return heads[0]


STUDENT, TEACHER = Linear(3 * 4, 0), Linear(2 * 4, 1)
CLIP = Clip(
    torch.arange(48).view(4, 1, 1, 3, 2, 2) % 7,
    torch.arange(32).view(4, 1, 1, 2, 2, 2) % 5,
    torch.tensor([0, 1, 1, 0]),
    torch.arange(4),
)


def teacher(network: nn.Module = TEACHER) -> Teacher:
    return Teacher(network, sees=[1], layer="conv5", facts={"weights": "abc"})


def system(network: nn.Module = STUDENT, weight: float = WEIGHT, by: Teacher | None = None) -> DistilledSystem:
    options = {"classes": ("a", "b"), "optimizer": None, "schedule": None}
    return DistilledSystem(network, teacher=by or teacher(), weight=weight, **options)


def test_the_loss_is_cross_entropy_and_weight_times_the_mean_square_by_hand() -> None:
    """In float64, number by number: no function of PyTorch but to read the weights."""

    def of(layer: nn.Linear, vectors: np.ndarray) -> np.ndarray:
        weight, bias = (part.detach().double().numpy() for part in (layer.weight, layer.bias))
        return np.array([[sum(w * x for w, x in zip(row, v, strict=True)) for row in weight] for v in vectors]) + bias

    ours = of(STUDENT.below, CLIP.first.flatten(1).double().numpy())
    theirs = of(TEACHER.below, CLIP.second.flatten(1).double().numpy())
    scores = of(STUDENT.head, ours)
    entropy = sum(
        math.log(sum(math.exp(score) for score in row)) - row[label]
        for row, label in zip(scores, CLIP.label.tolist(), strict=True)
    )
    square = sum((ours[n, d] - theirs[n, d]) ** 2 for n in range(4) for d in range(3))
    loss, heads, combined = system().training_loss(CLIP)
    assert loss.item() == pytest.approx(entropy / 4 + WEIGHT * square / (4 * 3), rel=1e-5)
    assert combined.tolist() == heads[0].tolist() == [pytest.approx(row, rel=1e-4) for row in scores.tolist()]


def test_gradients_reach_the_student_alone_and_the_teacher_stays_as_it_is() -> None:
    by, before = teacher(), copy.deepcopy(TEACHER.state_dict())
    module = system(by=by).train()
    assert not TEACHER.training
    features = by.features(CLIP)
    module.training_loss(CLIP)[0].backward()
    assert not features.requires_grad
    assert all(weight.grad is None and not weight.requires_grad for weight in TEACHER.parameters())
    assert all(weight.grad is not None for weight in STUDENT.below.parameters())
    assert torch.equal(by.features(CLIP), features)  # no dropout
    after = TEACHER.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())  # running means are not updated


def test_the_teacher_is_no_part_of_the_system() -> None:
    module = system()
    plain = TwoStreamSystem(STUDENT, classes=("a", "b"), optimizer=None, schedule=None)  # type: ignore[arg-type]
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert {id(weight) for weight in module.parameters()} == {id(weight) for weight in STUDENT.parameters()}
    assert copy.deepcopy(module).teacher is module.teacher  # an average of the weights is a copy of the system
    checkpoint: dict = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["teacher"] == {"weights": "abc"} == teacher_facts(module)
    assert teacher_facts(plain) is None


def test_without_weight_it_is_the_loss_alone_and_without_clips_a_zero_with_gradients() -> None:
    loss, heads, _ = (found := system(weight=0.0)).training_loss(CLIP)
    assert loss.item() == found.loss(heads, CLIP.label).item()
    STUDENT.zero_grad()
    nothing = Clip(*(part[:0] for part in CLIP[:4]))
    loss, *_ = system().training_loss(nothing)
    loss.backward()
    assert loss.item() == 0
    assert all(weight.grad is not None for weight in STUDENT.below.parameters())


SMALL = ["transform.size=32", "flow.length=2", "sampling=clip", "sampling.num_frames=3"]
NETWORKS = {
    "alone": (["streams=rgb"], "rgb.temporal.conv5"),
    "of clips": (["streams=rgb", "backbone.inflate=true", "temporal=pool2d"], "rgb.temporal.conv5"),
    "fused": (["fusion=sum"], "rgb.temporal.conv5"),
    "fused earlier": (["fusion=conv", "layer=conv4"], "rgb.temporal.conv5"),
    "both towers": (["fusion=sum", "layer=[conv4,fc8]"], "rgb.temporal.conv5"),
    "concatenated": (["fusion=concat"], "rgb.temporal.conv5"),
}


@pytest.mark.parametrize("words", [*NETWORKS])
def test_features_are_the_mean_of_the_map_that_goes_on(words: str) -> None:
    """What follows the last convolution and the fusion over time, averaged; the scores are those of any other call."""
    overrides, last = NETWORKS[words]
    network = build_network(compose_config([*SMALL, *overrides]), 5).eval()
    maps: dict[str, Tensor] = {}

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        maps["last"] = output

    network.get_submodule(last).register_forward_hook(keep)
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randint(0, 99, (2, 3, c, 32, 32), generator=generator) for c in (3, 4)]
    heads, features = network(*clips, features="conv5")
    by_hand = maps["last"].double().sum((1, 3, 4)) / maps["last"][0, :, 0].numel()
    assert features.shape == by_hand.shape == (2, maps["last"].shape[2])
    torch.testing.assert_close(features.double(), by_hand, rtol=1e-5, atol=1e-6)
    assert torch.equal(heads, network(*clips))
    scores = network(*clips, features="fc8")[1]
    if words != "both towers":
        torch.testing.assert_close(scores, heads[0])
