"""Makes a network from options that are named as on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from torch import nn

from twostream.config.compose import compose_config, quoted
from twostream.config.network import build_network
from twostream.files.errors import one_line


def create_model(*overrides: str, num_classes: int, **options: Any) -> nn.Module:
    """Returns the network that `python train.py` trains with the same options, from the same files of conf/.

    `options` are groups and plain values (`fusion="conv", layer=["conv5", "fc8"], weights="imagenet"`); `overrides` are
    written as on the command line, for values inside a group (`"flow.length=5"`). Without weights, it is random.

    The network takes its streams in their order: RGB frames (n, t, 3, h, w) in grey levels from 0 to 255, and stacks of
    L = `flow.length` flow fields (n, t, 2L, h, w) in grey levels around zero (`twostream.data.flow.quantise`); or its
    one stream. It returns the scores of its m heads before softmax, (m, n, k): in training each head has a loss of its
    own. `combine` turns them into one score of each class, (n, k), which is evaluated.

    >>> import torch
    >>> network = create_model("flow.length=10", fusion="conv", layer="conv5", num_classes=5).eval()
    >>> heads = network(torch.zeros(2, 1, 3, 64, 64), torch.zeros(2, 1, 20, 64, 64))
    >>> heads.shape, network.combine(heads).shape
    (torch.Size([1, 2, 5]), torch.Size([2, 5]))

    Raises ValueError for an unknown option or value, and for options that cannot be combined.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: must be at least 1")
    words = [*(f"{name}={as_word(value)}" for name, value in options.items()), *overrides]
    try:
        cfg = compose_config(words)
    except HydraException as error:
        raise ValueError(one_line(error)) from None
    return build_network(cfg, num_classes)


def as_word(value: Any) -> str:
    """Returns a Python value as it is typed on the command line.

    >>> as_word(["conv5", "fc8"]), as_word(None), as_word(True), as_word(0.5), as_word({"rgb": 0.1})
    ('[conv5,fc8]', 'null', 'true', '0.5', '{rgb:0.1}')
    >>> as_word("conv5"), as_word("/my weights/a=1.pth")
    ('conv5', "'/my weights/a=1.pth'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{as_word(part)}' for name, part in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(as_word, value))}]"
    text = str(value)
    return text if re.fullmatch(r"[\w.+-]+", text) else quoted(text)
