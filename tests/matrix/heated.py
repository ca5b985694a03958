"""What the process that forks does before the matrix: all that is the same for every cell, and would be done anew."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np


def heat() -> None:
    """Import what commands import late, read conf/ once, and leave out pictures of which tests of their own look."""
    import torch._dynamo
    import torch.export
    import torch.onnx  # noqa: F401

    from twostream.config.saved import known_targets
    from twostream.metrics import plots as pictures

    dot = io.BytesIO()
    matplotlib.image.imsave(dot, np.zeros((1, 1)), format="png")

    def blank(*arguments: Any, **_: Any) -> None:
        next(path for path in arguments if isinstance(path, Path)).write_bytes(dot.getvalue())

    known_targets()
    for name in ("save_learning_curves", "save_confusion_matrix", "save_reliability"):
        setattr(pictures, name, blank)
    import twostream.cli.work.inspect
    import twostream.cli.work.predict
    import twostream.evaluation.report
    import twostream.export.run
    import twostream.report  # noqa: F401
