"""Whether W&B would get runs: by the rules of W&B itself, without loading it or asking anybody."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # before and since 0.31


def usual_mode() -> str:
    """What mode=auto is: WANDB_MODE, else online where there is a key; never prompts."""
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


def has_key() -> bool:
    """Whether `wandb login` was done here: a key in the environment, or for its server in the netrc file."""
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
    """The file named by NETRC, ~/.netrc, or ~/_netrc as on Windows."""
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    usual = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((path for path in usual if path.exists()), usual[0])
