"""Two-stream networks for video action recognition: where and how to fuse appearance and motion."""

TYPE_CHECKING = False  # what tools read as true; no module is loaded for it
if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from twostream.prediction import Predictor

__version__ = "0.1.0"


def load(run_dir: "str | PathLike[str]", *, device: str = "auto", trust: "Sequence[str]" = ()) -> "Predictor":
    """The trained network of a run folder: `twostream.load("runs/…").predict("video.mp4").top()`.

    A run with code of your own: `trust=["mylab"]` names the packages that the folder may take it from.
    """
    from twostream.prediction import load  # PyTorch is loaded now, not with the package

    return load(run_dir, device=device, trust=trust)
