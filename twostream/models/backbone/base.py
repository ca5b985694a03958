"""An image classification network cut into ordered, named stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.classifier import start_classifier
from twostream.models.stages import STAGES

if TYPE_CHECKING:
    from twostream.models.backbone.weights import WeightsReport

ORDERS = ("block", "interleaved")
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # grey levels; torchvision's
IMAGENET_FLOW_STD = 57.63  # the mean of the three, as in TSN, whose first filters for flow average those of R, G, B


class FullyConnected(nn.Conv2d):
    """A fully connected layer (n, c, k, k) -> (n, d, 1, 1), which is convolved over maps that are larger.

    Raises ValueError for a map smaller than k x k.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size)

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        height, width = input.shape[-2:]
        side = self.kernel_size[0]
        if height < side or width < side:
            raise ValueError(
                f"a fully connected layer over {side}×{side} cells got a map of {height}×{width}: "
                "use larger images (vgg16 and vgg_m were made for 224×224)"
            )
        if height == width == side:
            # flatten in the order of memory: otherwise a channels_last weight would be copied (400 MB in VGG-16)
            is_last = self.weight.is_contiguous(memory_format=torch.channels_last)
            order = (0, 2, 3, 1) if is_last else (0, 1, 2, 3)
            weight = self.weight.permute(order).flatten(1)
            return F.linear(input.permute(order).flatten(1), weight, self.bias)[:, :, None, None]
        return super().forward(input)


class Backbone(nn.Module):
    """A chain of stages, each (n, c, h, w) -> (n, d, g, v), with names out of conv1 … conv5, fc6, fc7, fc8, in order.

    A stage with the attribute `over_clip` is (n, t, c, h, w) -> (n, t2, d, g, v) instead; one with `carries_tokens`
    takes and returns a map and the tokens beside it (n, m, c), or None.

    A convolutional stage ends at its last ReLU; the pooling that follows it belongs to the next stage, so that stages
    are fused before pooling. The score is the spatial mean of the map of the last stage.

    - `channels`, `strides`: of each stage's output. A stage that ends in global pooling has the stride of the map
      that it pools.
    - `mean`, `std`: of the RGB input, in grey levels 0..255; `flow_std`: of int8 flow, in grey levels around zero.
    - `dropout`: the probability in all dropout layers.
    - `source_names`: {name of a tensor here: its name in the published network `source`}.
    - `urls`: {name: URL} of published weights. `report`: what was loaded, or None.
    """

    fetches_itself = False  # whether a library downloads the weights "imagenet" itself
    has_spare_layers = False  # whether published weights have convolutional layers that no stage uses

    def __init__(
        self,
        name: str,
        stages: Mapping[str, nn.Module],
        *,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        dropout: float = 0.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        flow_std: float = IMAGENET_FLOW_STD,
        source: nn.Module | None = None,
        urls: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        assert list(stages) == [stage for stage in STAGES if stage in stages] == list(channels) == list(strides)
        self.name = name
        self.stages = nn.ModuleDict(stages)
        self.channels, self.strides, self.dropout = dict(channels), dict(strides), dropout
        self.mean, self.std, self.flow_std = tuple(mean), tuple(std), flow_std
        theirs = {} if source is None else source.state_dict(keep_vars=True)
        name_of = {id(tensor): name for name, tensor in theirs.items()}
        ours = self.state_dict(keep_vars=True)
        self.source_names = {name: name_of[id(ours[name])] for name in ours if id(ours[name]) in name_of}
        self.urls = dict(urls or {})
        self.report: WeightsReport | None = None

    def forward(self, x: Float[Tensor, "n *t c h w"]) -> Float[Tensor, "n k"]:
        """Returns scores of images, or of clips if there are stages that see whole clips."""
        for stage in self.stages.values():
            if x.ndim == 4 or getattr(stage, "over_clip", False):
                x = stage(x)
            else:
                x = stage(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x.mean(dim=(2, 3) if x.ndim == 4 else (1, 3, 4))

    @property
    def first(self) -> tuple[str, nn.Conv2d | nn.Conv3d]:
        """The name of the convolution that reads the image, and the convolution."""
        return next((name, module) for name, module in self.named_modules() if isinstance(module, CONVOLUTIONS))

    @property
    def classifier(self) -> nn.Conv2d | nn.Linear:
        """The last layer with weights."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]

    def is_feature(self, name: str) -> bool:
        """Whether a file of weights must have the tensor `name`: those of all convolutional stages."""
        return name.startswith("stages.conv")

    def is_of_classes(self, name: str) -> bool:
        """Whether a file of weights for other classes may have another tensor `name`."""
        return name.startswith("stages.fc8.")

    def require(self, stage: str) -> None:
        """Raises ValueError, which names the existing stages, if the network has no such stage."""
        if stage not in self.stages:
            raise ValueError(f"layer={stage!r}: {self.name} has no such stage; choose from {', '.join(self.stages)}")

    def initialise(self, only: Collection[str] | None = None) -> None:
        """Sets random initial values, in all layers or in those of which `only` names a tensor.

        Filters follow He et al. 2015 (normal, fan in), biases are 0. Since that rule assumes input of deviation 1, the
        first filters are divided by the input's deviation if that is larger. `start_classifier` sets the classifier.
        """
        classifier, (_, first) = self.classifier, self.first
        input_scale = max(1.0, sum(IMAGENET_STD) / sum(self.std))
        for name, module in self.named_modules():
            own = [f"{name}.{key}" for key in (*module._parameters, *module._buffers)]
            if not own or (only is not None and not set(own) & set(only)):
                continue
            if module is classifier:
                start_classifier(classifier, trained=self.report is not None)
            elif isinstance(module, CONVOLUTIONS):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module is first:
                    module.weight.data /= input_scale
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            else:
                assert isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d), f"{name}: {type(module).__name__}"
                module.reset_parameters()

    def widen(self, name: str, in_channels: int, *, order: str = "block") -> None:
        """Makes stage `name` read a concatenated map of `in_channels`.

        Each filter that reads the stage's input is repeated over the new channels, [W, W], so that concatenation
        starts as sum fusion: exactly so if the convolution comes first in the stage; after a max pool it starts as the
        sum of both pooled maps. `order` is that of the channels: one tower after the other ("block") or "interleaved".
        Raises ValueError for an unknown stage or order, for too few channels, and if no filter can be widened.
        """
        self.require(name)
        check_order(order)
        for convolution in self._readers(name):
            widen_convolution(convolution, in_channels, order=order, where=f"layer={name!r}: {self.name}")

    def _readers(self, name: str) -> list[nn.Conv2d | nn.Conv3d]:
        """Returns the convolutions that read the input of stage `name`; only layers without weights precede them."""
        first = first_with_parameters(self.stages[name])
        if not isinstance(first, CONVOLUTIONS) or first.groups != 1:
            raise ValueError(
                f"layer={name!r}: this stage of {self.name} cannot read more channels than it was made for; "
                "choose a fusion that keeps their number (sum, max, conv), or an earlier or later layer"
            )
        return [first]

    def open(self, name: str, *, over_time: bool | str) -> None:
        """Makes stage `name` one that another stream enters at its second residual unit: an EnteredStage.

        `over_time`: with a filter over three frames; "thirds": its 1×1 filters become such. Raises ValueError if the
        stage has no residual units, or their filters are not 1×1.
        """
        raise ValueError(
            f"fusion=residual: {self.name} has no residual units to enter; choose backbone=resnet18, resnet34, "
            "resnet50 or resnet101 for both streams"
        )

    def reads_map(self, stage: str) -> bool:
        """Whether the map after a stage goes on, not the tokens beside it alone; here always."""
        return True

    def leave_tokens(self) -> None:
        """Makes the scores depend on the last map alone, not on tokens beside it; here there are none."""

    def replace_head(self, pooling: nn.Module, in_features: int, num_classes: int, *, channels: int = 0) -> None:
        """Replaces all fully connected stages by fc8: `pooling` (n, c, h, w) -> (n, in_features), dropout, linear.

        `channels`: of the map that is pooled, or 0 for a vector. Networks that normalise their last map need it.
        """
        for name in [name for name in self.stages if name.startswith("fc")]:
            del self.stages[name]
        like = self.first[1].weight
        linear = FullyConnected(in_features, num_classes).to(device=like.device, dtype=like.dtype)
        column = nn.Unflatten(1, (in_features, 1, 1))
        self.stages["fc8"] = nn.Sequential(pooling, column, nn.Dropout(self.dropout), linear).train(self.training)
        self.initialise(only=[f"stages.fc8.3.{key}" for key in ("weight", "bias")])
        convolutional = [name for name in self.stages if name != "fc8"]
        self.channels = {name: self.channels[name] for name in convolutional} | {"fc8": num_classes}
        last = self.strides[convolutional[-1]]
        self.strides = {name: self.strides[name] for name in convolutional} | {"fc8": last}
        self.source_names = {k: v for k, v in self.source_names.items() if not k.startswith("stages.fc")}


def check_order(order: str) -> None:
    """Raises ValueError for an unknown order of channels."""
    if order not in ORDERS:
        raise ValueError(f"order={order!r}: choose from {', '.join(ORDERS)}")


def first_with_parameters(stage: nn.Module) -> Any:
    """Returns the first part of a stage that has parameters."""
    parts = stage if isinstance(stage, nn.Sequential) else [stage]
    return next(part for part in parts if next(part.parameters(), None) is not None)


def first_convolution(module: nn.Module) -> Any:
    """Returns the first convolution in a module."""
    return next(part for part in module.modules() if isinstance(part, CONVOLUTIONS))


def set_in_channels(convolution: nn.Conv2d | nn.Conv3d, in_channels: int) -> None:
    """Gives a convolution on the meta device (without values) another number of input channels."""
    assert convolution.weight.is_meta
    convolution.in_channels = in_channels
    out_channels, _, *kernel = convolution.weight.shape
    convolution.weight = nn.Parameter(convolution.weight.new_empty(out_channels, in_channels, *kernel))


def widen_convolution(convolution: nn.Conv2d | nn.Conv3d, in_channels: int, *, order: str, where: str) -> None:
    """Repeats the filters of a convolution, in place, until they read `in_channels`.

    Raises ValueError, which begins with `where`, for too few channels, or in order "interleaved" for no multiple.
    """
    weight = convolution.weight.detach()
    old = weight.shape[1]
    if in_channels < old or (order == "interleaved" and in_channels % old):
        multiple = "a multiple of them" if order == "interleaved" else "at least as many"
        raise ValueError(f"{where} reads {old} channels here; {in_channels} cannot replace them, {multiple} could")
    channel = torch.arange(in_channels, device=weight.device)
    source = channel % old if order == "block" else channel // (in_channels // old)
    convolution.in_channels = in_channels
    convolution.weight = nn.Parameter(weight.index_select(1, source))


def scaled(channels: Sequence[int], width: float) -> list[int]:
    """Returns `width` times as many channels, at least one each; the published network has width 1.

    Raises ValueError for a width that is not positive.

    >>> scaled((64, 512, 4096), 0.125)
    [8, 64, 512]
    """
    if not width > 0:
        raise ValueError(f"width={width!r}: must be positive; 1 is the published network")
    return [max(1, round(number * width)) for number in channels]
