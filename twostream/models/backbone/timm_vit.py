"""Cuts a vision transformer of timm into stages: maps are its patch tokens, other tokens travel beside them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

GROUPS = ("conv2", "conv3", "conv4", "conv5")
POOLS = {"token": "class token", "avg": "mean of patches", "max": "max of patches", "map": "attention over patches"}
ROTARY_NOISE = ("shift_coords", "jitter_coords", "rescale_coords")

Map = Float[Tensor, "n c h w"]
Tokens = Float[Tensor, "n m c"] | None
Sequence = Float[Tensor, "n l c"]


def can_be_cut(network: Any) -> bool:
    """Whether a network of timm is a transformer that `stages_of` cuts: its VisionTransformer, Eva, and the like.

    The blocks must take a grid of any size, and share nothing that is learned: so not BEiT, whose blocks hold a table
    for one grid, and not learned rotary embeddings. There must be one classifier: so not DeiT's distilled networks.
    """
    needed = ("patch_embed", "_pos_embed", "dynamic_img_size", "norm_pre", "blocks", "norm", "fc_norm", "head_drop")
    return (
        all(hasattr(network, name) for name in needed)
        and len(network.blocks) >= len(GROUPS)
        and network.global_pool in POOLS
        and isinstance(network.head, nn.Linear)
        and not hasattr(network, "head_dist")
        and not getattr(network, "rope_mixed", False)
    )


def stages_of(network: Any) -> dict[str, nn.Module]:
    """Returns the stages of a transformer that was made with `dynamic_img_size`, by name; they share its tensors.

    conv1 is the patch embedding with position embeddings, conv2 … conv5 are the blocks in four groups, as equal as
    their number allows, fc8 is what follows: the last norm, timm's own pooling, and the classifier.
    """
    depth, groups = len(network.blocks), len(GROUPS)
    ends = [depth * number // groups for number in range(groups + 1)]
    blocks = {
        name: Blocks(network.blocks[start:end], first=start, of=depth, rope=getattr(network, "rope", None))
        for name, start, end in zip(GROUPS, ends, ends[1:], strict=False)
    }
    return {"conv1": Embedding(network), **blocks, "fc8": Head(network)}


def resampled(found: Mapping[str, Tensor], embedding: Any) -> dict[str, Tensor]:
    """Returns weights by timm's names, with position embeddings for the grid of `embedding`, resampled as timm does."""
    from timm.layers import resample_abs_pos_embed

    network, theirs = embedding.network, found.get("pos_embed")
    own = network.pos_embed
    if theirs is None or own is None or theirs.ndim != 3 or theirs.shape == own.shape:
        return dict(found)
    others = 0 if network.no_embed_class else network.num_prefix_tokens
    if isqrt(theirs.shape[1] - others) ** 2 != theirs.shape[1] - others:  # not of a square image
        return dict(found)
    new = resample_abs_pos_embed(theirs, network.patch_embed.grid_size, num_prefix_tokens=others)
    return {**found, "pos_embed": new}


class Embedding(nn.Module):
    """An image -> patch tokens and the tokens beside them, with position embeddings for any size of image."""

    carries_tokens = True
    title = "patch embedding"

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = part_of(network, ("patch_embed", "pos_drop", "norm_pre"), network._parameters)
        self.network.rope = None  # of Eva's blocks, which compute it themselves
        self.undecayed = {f"network.{name}" for name in network.no_weight_decay()}

    def forward(self, image: Map, tokens: Tokens) -> tuple[Map, Tokens]:
        patches = self.network.patch_embed(image)  # (n, h, w, c)
        embedded = self.network._pos_embed(patches)
        sequence = embedded[0] if isinstance(embedded, tuple) else embedded  # Eva's has the rotary one beside it
        return apart(self.network.norm_pre(sequence), self.network.num_prefix_tokens, patches.shape[1:3])


class Blocks(nn.Module):
    """Some blocks of a transformer, over the patch tokens of a map and the tokens beside it.

    `rope`: rotary position embeddings. The noise that some of them add in training is left out.
    """

    carries_tokens = True

    def __init__(self, blocks: Iterable[nn.Module], *, first: int, of: int, rope: Any) -> None:
        super().__init__()
        self.blocks, self.rope = nn.ModuleList(blocks), copy.deepcopy(rope)
        for name in ROTARY_NOISE if rope is not None else ():
            setattr(self.rope, name, None)
        last = first + len(self.blocks)
        self.title = f"block {last} of {of}" if last == first + 1 else f"blocks {first + 1}-{last} of {of}"

    def forward(self, map: Map, tokens: Tokens) -> tuple[Map, Tokens]:
        sequence, size = together(map, tokens), map.shape[-2:]
        position = {} if self.rope is None else {"rope": self.rope.get_embed(shape=size)}
        for block in self.blocks:
            sequence = block(sequence, **position)
        return apart(sequence, 0 if tokens is None else tokens.shape[1], size)


class Head(nn.Module):
    """The last norm, timm's own pooling, dropout and the classifier -> scores (n, k, 1, 1)."""

    carries_tokens = True

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = part_of(network, ("norm", "attn_pool", "fc_norm", "head_drop", "head"))

    @property
    def title(self) -> str:
        return POOLS[self.network.global_pool]

    def extra_repr(self) -> str:
        return self.title

    @property
    def norm(self) -> nn.Module:
        """The last norm, which comes before or after the pooling."""
        before, after = self.network.norm, self.network.fc_norm
        return after if isinstance(before, nn.Identity) else before

    @property
    def pools_map(self) -> bool:
        """Whether the scores read the map, not the class token alone."""
        return self.network.global_pool != "token"

    def leave_tokens(self) -> None:
        """Pools patch tokens alone; their mean where the class token was taken."""
        self.network.num_prefix_tokens = 0
        if not self.pools_map:
            self.network.global_pool = "avg"

    def forward(self, map: Map, tokens: Tokens) -> tuple[Float[Tensor, "n k 1 1"], None]:
        sequence = together(map, tokens if self.network.num_prefix_tokens else None)
        return self.network.forward_head(self.network.norm(sequence))[:, :, None, None], None


class Widened(nn.Sequential):
    """A 1×1 convolution that reads a fused map, before a stage that carries tokens."""

    carries_tokens = True

    def __init__(self, reader: nn.Module, stage: Any) -> None:
        super().__init__(reader, stage)
        self.title = stage.title

    def forward(self, map: Map, tokens: Tokens) -> tuple[Map, Tokens]:
        reader, stage = self
        return stage(reader(map), tokens)


class Norm(nn.Module):
    """Normalises the channels at each position of a map."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, map: Map) -> Map:
        return self.norm(map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def part_of(network: nn.Module, modules: Iterable[str], parameters: Mapping[str, Any] | None = None) -> Any:
    """Returns a copy of a network that has some of its parts alone, the same objects; all methods are there."""
    part = copy.copy(network)
    part._modules = {name: network._modules[name] for name in modules if name in network._modules}
    part._parameters = dict(parameters or {})
    return part


def together(map: Map, tokens: Tokens) -> Sequence:
    """Returns the tokens beside a map, then those of its positions, row by row, as one sequence."""
    patches = map.flatten(2).transpose(1, 2)
    return patches if tokens is None else torch.cat((tokens, patches), dim=1)


def apart(sequence: Sequence, number: int, size: Iterable[int]) -> tuple[Map, Tokens]:
    """Returns the map of `size` (h, w) and the `number` tokens beside it; undoes `together`."""
    height, width = size
    patches = sequence[:, number:].transpose(1, 2).unflatten(2, (height, width))
    return patches, sequence[:, :number] if number else None
