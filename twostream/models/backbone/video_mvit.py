"""torchvision's multiscale vision transformer of clips, with weights of Kinetics-400."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import Backbone, FullyConnected
from twostream.models.backbone.over_time import ClipStage, filtered
from twostream.models.backbone.video import published
from twostream.models.backbone.video_swin import VideoSwin
from twostream.models.backbone.weights import start

Maps = Float[Tensor, "n t c h w"]
Tokens = Float[Tensor, "n 1 1 c"]  # the class token of a clip


class MViT(VideoSwin):
    """A multiscale vision transformer: its class token travels beside the maps."""

    def forward(self, x: Maps) -> Float[Tensor, "n k"]:
        tokens = None
        for stage in self.stages.values():
            x, tokens = stage(x, tokens)
        return x.mean(dim=(1, 3, 4))

    def widened(self, reader: ClipStage, stage: nn.Module) -> nn.Module:
        return WidenedBlocks(reader, stage)


class Embedding(nn.Module):
    """Patches of a clip, and the class token."""

    over_clip = carries_tokens = True

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.project, self.encoding = network.conv_proj, network.pos_encoding

    def forward(self, clips: Maps, _: None) -> tuple[Maps, Tokens]:
        patches = filtered(self.project, clips.transpose(1, 2))
        return apart(self.encoding(patches.flatten(2).transpose(1, 2)), patches.shape[2:])


class Blocks(nn.Module):
    """Blocks of the transformer, in a row."""

    over_clip = carries_tokens = True

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: Maps, tokens: Tokens) -> tuple[Maps, Tokens]:
        t, _, h, w = maps.shape[1:]
        size: Sequence[int] = (t, h, w)

        def run(sequence: Tensor) -> Tensor:
            nonlocal size
            for block in self.blocks:
                sequence, size = block(sequence, size)
            return sequence

        patches = maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
        sequence = filtered(run, torch.cat((tokens[:, 0].to(patches.dtype), patches), 1))
        return apart(sequence, size)


class Head(Blocks):
    """The last block, in which the class token sees a map that was fused before, the norm, dropout and classifier."""

    def __init__(self, block: nn.Module, norm: nn.Module, dropout: float, linear: FullyConnected) -> None:
        super().__init__([block])
        self.norm, self.classify = norm, nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, maps: Maps, tokens: Tokens) -> tuple[Maps, Tokens]:
        tokens = super().forward(maps, tokens)[1]
        return self.classify(self.norm(tokens).permute(0, 3, 1, 2)).unsqueeze(1), tokens


def apart(sequence: Float[Tensor, "n s c"], size: Sequence[int]) -> tuple[Maps, Tokens]:
    """Returns maps of `size` (t, h, w), and the class token, which comes before them."""
    return sequence[:, 1:].unflatten(1, size).permute(0, 1, 4, 2, 3), sequence[:, None, :1]


class WidenedBlocks(nn.Sequential):
    """A stage after another one that reads more channels."""

    over_clip = carries_tokens = True

    def forward(self, maps: Maps, tokens: Tokens) -> tuple[Maps, Tokens]:  # type: ignore[override]
        reader, stage = self
        return stage(reader(maps), tokens)


def mvit_v2_s(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """MViTv2-S (Li et al. 2022): 16 blocks, of which the second, fourth and fifteenth halve height and width.

    conv1 halves time and embeds patches of 4×4; conv2 … conv5 begin at these blocks. The last block belongs to fc8: its
    class token, which the scores are made of, so sees a map that was fused or pooled over time behind conv5. Another
    `pooling` replaces it. Takes clips of any size: position embeddings are interpolated.
    """
    models = torchvision_models("mvit_v2_s")
    source = models.get_model("mvit_v2_s", num_classes=num_classes)
    if in_channels != 3:
        source.conv_proj = type(source.conv_proj)(in_channels, 96, (3, 7, 7), (2, 4, 4), (1, 3, 3))
    linear = source.head[1] = FullyConnected(768, num_classes)
    blocks = source.blocks
    stages = {
        "conv1": Embedding(source),
        "conv2": Blocks(blocks[:1]),
        "conv3": Blocks(blocks[1:3]),
        "conv4": Blocks(blocks[3:14]),
        "conv5": Blocks(blocks[14:15]),
        "fc8": Head(blocks[15], source.norm, dropout, linear),
    }
    backbone = MViT(
        "mvit_v2_s",
        stages,
        channels=dict(zip(stages, (96, 96, 192, 384, 768, num_classes), strict=True)),
        strides=dict(zip(stages, (4, 4, 8, 16, 32, 32), strict=True)),
        dropout=dropout,
        source=source,
        **published(models, "mvit_v2_s"),
    )
    return start(backbone, weights, cross_modality=cross_modality)
