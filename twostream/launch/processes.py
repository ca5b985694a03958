"""Starts the processes of one training on this machine, watches them, and ends them together.

`python train.py trainer=ddp trainer.devices=8` does not train itself: it starts eight processes that train, waits, says
which of them failed first, and ends the others. torchrun and SLURM start and end such processes themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig

from twostream.config.compose import run_in
from twostream.config.run import check_device, make_trainer, quieten
from twostream.data.module import share
from twostream.files.errors import UserError, checked
from twostream.files.lock import Claim
from twostream.launch.claim import claimed
from twostream.launch.ranks import STARTED_BY, ProcessError, tell
from twostream.launch.sweep import as_typed
from twostream.options.command import TWOSTREAM_TRAIN, TYPED, this_command
from twostream.training.ranks import rank_of

GRACE_SECONDS = 10.0  # for the others to end by themselves, once one has failed
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
OUT_OF_MEMORY = " (out of memory?)"


def needs_own_process(cfg: DictConfig) -> bool:
    """Whether this process starts others that train: two or more, or, for a cell of a sweep, at least one."""
    if cfg.trainer.get("strategy") is None:
        return False
    return HydraConfig.get().mode == RunMode.MULTIRUN or number_to_start(cfg)[0] > 1


def number_to_start(cfg: DictConfig) -> tuple[int, int]:
    """Returns (processes to start here, number of machines); (1, 1) if torchrun or SLURM has started the processes."""
    quieten()
    with checked():
        check_device(cfg.trainer.get("accelerator", "auto"), cfg.precision, cfg.trainer.get("devices", 1))
        trainer = make_trainer(cfg, logger=False, enable_checkpointing=False)
        share(cfg.batch_size, trainer.world_size)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or environment.creates_processes_externally:
        return 1, 1
    return trainer.num_devices, trainer.num_nodes


def run_own_process(cfg: DictConfig, folder: Path) -> None:
    """Runs this command, or this cell of a sweep, in processes of its own. Raises `ProcessError` if one fails."""
    with claimed(cfg, folder) as claim:
        if claim is None:
            return
        hydra_config = HydraConfig.get()
        swept = hydra_config.mode == RunMode.MULTIRUN
        words = as_typed(hydra_config.overrides.task) if swept else sys.argv[1:]
        command = [
            sys.executable,
            *program(),
            *(config_dirs(hydra_config) if swept else ()),
            *words,
            run_in(folder),
            "hydra.output_subdir=null",
        ]
        processes = [
            subprocess.Popen(command, env=environment, start_new_session=True)
            for environment in environments(*number_to_start(cfg))
        ]
        with passing_on(processes) as received:
            failed = watch(processes, folder, claim, received)
        if failed is not None:
            raise ProcessError(f"rank {failed[0]} of {len(processes)}: {reason(failed[1], folder)}")
        if received and any(process.returncode for process in processes):
            sys.exit(128 + received[0])


def program() -> list[str]:
    """Returns the arguments with which Python starts the program of this process again.

    A script is started by its path: `-m` would let a file in the current folder take the place of an installed package.
    """
    main: Any = sys.modules["__main__"]
    if main.__spec__ is not None and main.__spec__.name != "__main__":  # as this one was: `python -m …`
        start = ["-m", main.__spec__.name]
    else:
        start = [os.path.abspath(main.__file__ or sys.argv[0])]
    return [*start, "train"] if sys.argv[0] == TWOSTREAM_TRAIN else start


def config_dirs(hydra_config: HydraConf) -> list[str]:
    """Returns the `--config-dir` of this command, for the processes of a cell."""
    sources = hydra_config.runtime.config_sources
    return [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]


def environments(count: int, num_nodes: int) -> list[dict[str, str]]:
    """Returns the environment in which each process finds the others. Raises UserError if machines lack an address."""
    common = {**os.environ, STARTED_BY: str(os.getpid()), TYPED: this_command()}
    if rank_of(os.environ) is not None:  # a cell of a sweep whose processes torchrun or SLURM has started
        return [common]
    needed = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if num_nodes > 1 else ()
    if missing := [name for name in needed if name not in os.environ]:
        raise UserError(
            f"trainer.num_nodes={num_nodes}: {', '.join(missing)} not set; set the address and a free port of the "
            "first machine, and the number of this one, 0 being the first; or use torchrun or SLURM"
        )
    common = {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0", **common, "WORLD_SIZE": str(count * num_nodes)}
    common.setdefault("MASTER_PORT", str(find_free_network_port()))
    first = int(common["NODE_RANK"]) * count
    return [{**common, "RANK": str(first + local), "LOCAL_RANK": str(local)} for local in range(count)]


@contextmanager
def passing_on(processes: Sequence[subprocess.Popen]) -> Iterator[list[int]]:
    """Passes signals on to the processes, which handle them. Yields the list of signals that came."""
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)
        for process in processes:
            process.send_signal(number)  # does nothing where the process has ended

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    wanted = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]  # such as by nohup
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(
    processes: Sequence[subprocess.Popen], folder: Path, claim: Claim, received: Sequence[int]
) -> tuple[int, int] | None:
    """Waits for all processes to end. Ends the others if one fails.

    Returns (rank, exit code) of the process that failed first, or None if none failed.
    """
    try:
        while True:
            claim.beat()
            fine = {0, *(128 + number for number in received)}  # stopped when asked to, after saving
            codes = [process.poll() for process in processes]
            for rank, code in enumerate(codes):
                if code is None or code in fine:
                    continue
                if code < 0:  # killed, it could not say so itself
                    tell(rank, f"was killed by {name_of(-code)}{OUT_OF_MEMORY * (-code == signal.SIGKILL)}", folder)
                end(processes, GRACE_SECONDS)
                return rank, code
            if None not in codes:
                return None
            if len(received) > 1:  # asked twice: end those that do not stop
                end(processes, GRACE_SECONDS)
            time.sleep(0.1)
    finally:
        end(processes, 0.0)


def end(processes: Sequence[subprocess.Popen], seconds: float) -> None:
    """Waits for the processes at most so many seconds, then kills those that still run."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.wait()


def reason(code: int, folder: Path) -> str:
    """Says in one line why a process ended."""
    with suppress(OSError):
        lines = (folder / "error.txt").read_text(encoding="utf-8").strip().splitlines()
        return (lines or [""])[-1]
    return f"ended with exit code {code}"


def name_of(number: int) -> str:
    """Returns the name of a signal.

    >>> name_of(9)
    'SIGKILL'
    """
    return signal.Signals(number).name


# ---- in the processes that train ----
