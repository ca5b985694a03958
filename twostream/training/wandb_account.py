"""Finds out whether W&B would get runs: by W&B's own rules, without importing it and without prompting."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # W&B's server before version 0.31, and since


def usual_mode() -> str:
    """Returns what mode=auto means: WANDB_MODE, else online if there is a key, else offline. Never prompts."""
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


def has_key() -> bool:
    """Returns whether `wandb login` was done here.

    That is, whether there is a key in the environment, or one for W&B's server in the netrc file.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    url = os.environ.get("WANDB_BASE_URL")
    hosts = (urlsplit(url).netloc,) if url and urlsplit(url).netloc not in HOSTS else HOSTS
    try:
        entries = netrc.netrc(netrc_file())
    except (OSError, netrc.NetrcParseError):
        return False
    found = [entries.authenticators(host) for host in hosts]
    return any(entry is not None and entry[2] for entry in found)


def netrc_file() -> Path:
    """Returns the file named by NETRC, else ~/.netrc, or ~/_netrc as on Windows if only that exists."""
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    usual = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((path for path in usual if path.exists()), usual[0])
