"""torchvision's video Swin transformers, with weights of Kinetics-400."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import Backbone, FullyConnected, check_order, widen_convolution
from twostream.models.backbone.over_time import ClipStage, filtered
from twostream.models.backbone.video import published
from twostream.models.backbone.weights import start


class VideoSwin(Backbone):
    """A video Swin transformer: conv1 is its patch embedding, conv2 … conv5 are its levels."""

    def widen(self, name: str, in_channels: int, *, order: str = "block") -> None:
        """Does as in `Backbone`, but by a 1×1×1 convolution before the stage, whose own layers do not change."""
        self.require(name)
        if not getattr(self.stages[name], "over_clip", False):
            return super().widen(name, in_channels, order=order)
        names = list(self.stages)
        channels = self.channels[names[names.index(name) - 1]]
        reader = nn.Conv3d(channels, channels, 1, bias=False).to(self.first[1].weight)
        with torch.no_grad():
            nn.init.dirac_(reader.weight)  # the identity; widened, it adds both streams
        check_order(order)
        widen_convolution(reader, in_channels, order=order, where=f"layer={name!r}: {self.name}")
        self.stages[name] = self.widened(ClipStage(reader), self.stages[name])

    def widened(self, reader: ClipStage, stage: nn.Module) -> nn.Module:
        """Returns a stage that begins with `reader`."""
        return Widened(reader, stage)


class Widened(nn.Sequential):
    """A stage after another one that reads more channels."""

    over_clip = True


class LastStage(nn.Sequential):
    """A stage of layers that work on (n, t, h, w, c)."""

    over_clip = True

    def forward(self, input: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n r d g v"]:
        return super().forward(input.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)


class Embedding(nn.Sequential):
    """A stage of layers from (n, c, t, h, w) to (n, t, h, w, c)."""

    over_clip = True

    def forward(self, input: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n r d g v"]:
        return filtered(super().forward, input.transpose(1, 2)).permute(0, 1, 4, 2, 3)


def video_swin(
    name: str,
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """A video Swin transformer (Liu et al. 2022) by its name in torchvision: swin3d_t, swin3d_s, swin3d_b.

    conv1 halves time and embeds patches of 4×4. conv5 ends with the norm before the classifier; fc8 is pooling and a
    linear layer; without temporal fusion, scores are torchvision's own. Takes clips of any size.
    """
    models = torchvision_models(name)
    from torchvision.models.video.swin_transformer import PatchEmbed3d

    source = models.get_model(name, num_classes=num_classes, patch_embed=partial(PatchEmbed3d, in_channels=in_channels))
    source.head = FullyConnected(source.num_features, num_classes)
    levels = source.features
    stages = {
        "conv1": Embedding(source.patch_embed, source.pos_drop),
        "conv2": LastStage(levels[0]),
        "conv3": LastStage(levels[1], levels[2]),
        "conv4": LastStage(levels[3], levels[4]),
        "conv5": LastStage(levels[5], levels[6], source.norm),
        "fc8": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), source.head),
    }
    width = source.num_features // 8
    backbone = VideoSwin(
        name,
        stages,
        channels=dict(zip(stages, (width, width, 2 * width, 4 * width, 8 * width, num_classes), strict=True)),
        strides=dict(zip(stages, (4, 4, 8, 16, 32, 32), strict=True)),
        dropout=dropout,
        source=source,
        **published(models, name),
    )
    return start(backbone, weights, cross_modality=cross_modality)


swin3d_t = partial(video_swin, "swin3d_t")
"""Video Swin, tiny (Liu et al. 2022)."""
swin3d_s = partial(video_swin, "swin3d_s")
"""Video Swin, small (Liu et al. 2022)."""
swin3d_b = partial(video_swin, "swin3d_b")
"""Video Swin, base (Liu et al. 2022)."""
