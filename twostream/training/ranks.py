"""What can be said of a process among those that train together before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Mapping

from twostream.files.signals import INTERACTIVE


def rank_of(environment: Mapping[str, str]) -> int | None:
    """Returns the number of this process among those that train together, or None if it trains alone.

    >>> rank_of({"RANK": "3"}), rank_of({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}), rank_of({"SLURM_PROCID": "0"})
    (3, 1, None)
    """
    if "RANK" in environment:
        return int(environment["RANK"])
    if int(environment.get("SLURM_NTASKS", "1")) > 1 and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return int(environment.get("SLURM_PROCID", "0"))
    return None


def lost_others(error: BaseException | None) -> bool:
    """Returns whether an error only says that another process is gone.

    >>> lost_others(RuntimeError("[…/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242"))
    True
    """
    while error is not None:
        if type(error).__name__.startswith("Dist") or any(word in str(error) for word in ("gloo", "NCCL")):
            return True
        error = error.__cause__
    return False
