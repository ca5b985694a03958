"""Two-stream networks for video action recognition: where and how to fuse appearance and motion.

`import twostream` loads nothing heavy; PyTorch comes with the first name that needs it.
"""

TYPE_CHECKING = False  # what tools read as true; no module is loaded for it
if TYPE_CHECKING:
    from twostream.config.create import create_model
    from twostream.data.sources import HMDB51, UCF101, Folder
    from twostream.models import MultiLevelNetwork, SingleStreamNetwork, TwoStreamNetwork
    from twostream.prediction import Predictor, load

_PLACES = {  # public name -> where it is
    "Folder": "twostream.data.sources",
    "HMDB51": "twostream.data.sources",
    "MultiLevelNetwork": "twostream.models",
    "Predictor": "twostream.prediction",
    "SingleStreamNetwork": "twostream.models",
    "TwoStreamNetwork": "twostream.models",
    "UCF101": "twostream.data.sources",
    "create_model": "twostream.config.create",
    "load": "twostream.prediction",
}

__all__ = [
    "HMDB51",
    "UCF101",
    "Folder",
    "MultiLevelNetwork",
    "Predictor",
    "SingleStreamNetwork",
    "TwoStreamNetwork",
    "create_model",
    "load",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("twostream")
        except PackageNotFoundError:
            raise AttributeError("twostream is not installed, so its version is not known") from None
    if name not in _PLACES:
        raise AttributeError(f"module 'twostream' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
