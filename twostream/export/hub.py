"""Sends exported folders to the Hugging Face Hub, and fetches them from there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twostream.config.saved import load_config
from twostream.files.errors import one_line
from twostream.files.extras import missing_extra
from twostream.files.foreign import inside
from twostream.options.choices import FORMATS

REQUIRED = ("config.json", FORMATS["safetensors"])
FILES = (  # what is sent and fetched; none of it is pickled
    *REQUIRED,
    "README.md",
    "preprocessing.json",
    "results.json",
    "metrics.csv",
    "learning_curves.png",
    "confusion_matrix.png",
    "model.onnx",
    "model.onnx.data",
)
NOT_FETCHED = ("model.onnx", "model.onnx.data")  # further copies of the weights, which our own network does not need


def push_folder(folder: Path, repo: str, *, private: bool = False) -> str:
    """Sends an exported folder to the Hub as one commit; returns its address. Uses huggingface_hub's own login.

    Raises ValueError if the name is wrong, a file is missing, or the Hub cannot be reached or refuses.
    """
    repo = check_repo(repo)
    hub = require_hub()
    if missing := [name for name in REQUIRED if not (folder / name).is_file()]:
        raise ValueError(f"{folder}: has no {missing[0]}; export it with --format safetensors")
    for name in FILES:
        inside(folder, name)
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="twostream")
    names = [name for name in FILES if (folder / name).is_file()]
    operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names]
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        return str(api.create_commit(repo, operations, commit_message="Network, preprocessing and card of a run"))
    except Exception as error:  # of the network, the login, or the Hub
        raise ValueError(f"--push {repo}: {one_line(error)[:300]}") from error


def download_run(
    repo: str, *, revision: str | None = None, cache: Path | None = None, trust: Sequence[str] = ()
) -> Path:
    """Fetches a network from the Hub, `OWNER/NAME` or `hf://OWNER/NAME`; returns its folder, for `load_run`.

    Files are kept in huggingface_hub's cache, or in `cache`. Only weights without pickles and plain values are fetched.
    Raises ValueError if they cannot be fetched, or if the configuration names code outside of twostream and the
    packages `trust`.
    """
    repo = check_repo(repo.removeprefix("hf://"))
    hub = require_hub()
    try:
        folder = hub.snapshot_download(
            repo,
            revision=revision,
            cache_dir=cache,
            endpoint=os.environ.get("HF_ENDPOINT"),
            allow_patterns=[name for name in FILES if name not in NOT_FETCHED],
            library_name="twostream",
        )
    except Exception as error:
        raise ValueError(f"hf://{repo}: {one_line(error)[:300]}") from error
    if missing := [name for name in REQUIRED if not (Path(folder) / name).is_file()]:
        raise ValueError(f"hf://{repo}: has no {missing[0]}, so it is no network of twostream")
    load_config(folder, trust=trust)
    return Path(folder)


def check_push(repo: str, form: str | None) -> None:
    """Raises ValueError, before anything is made, for a bad repository name or a format that is not sent."""
    check_repo(repo)
    require_hub()
    if form == "torch-export":
        raise ValueError("--push --format torch-export: such a file holds pickled parts; push onnx or safetensors")


def check_repo(repo: str) -> str:
    """Returns `repo`. Raises ValueError unless it is OWNER/NAME."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, flags=re.ASCII):
        raise ValueError(f"{repo!r}: name a repository of the Hub as OWNER/NAME")
    return repo


def require_hub() -> Any:
    """Returns the library huggingface_hub. Raises ImportError, naming the extra, if it is missing."""
    try:
        import huggingface_hub  # an extra
    except ImportError:
        raise missing_extra("the Hugging Face Hub", "huggingface_hub", "hub") from None
    return huggingface_hub
