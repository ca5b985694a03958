"""W&B that does not answer, refuses or dies; metrics.csv that is whole."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from twostream.cli.work.doctor import wandb_state
from twostream.files.signals import Stopped
from twostream.training.loggers import WholeRowsWriter, answers, finishing, wandb_logger
from twostream.training.wandb_account import has_key, usual_mode


def test_whether_a_server_answers() -> None:
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert answers(f"http://127.0.0.1:{server.server_port}", seconds=30), "an error is an answer"
        started = time.monotonic()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
        assert 0.3 <= time.monotonic() - started < 20
    assert not answers("http://127.0.0.1:9")


def test_a_run_goes_on_without_a_wandb_that_fails(tmp_path: Path, caplog) -> None:
    class Dying:
        def __init__(self) -> None:
            self.logged: list[dict] = []

        def log(self, metrics: dict) -> None:
            if len(self.logged) == 2:
                raise ConnectionResetError("Connection lost")
            self.logged.append(metrics)

        def finish(self) -> None:
            raise AssertionError("nobody is there to be told")

    logger = wandb_logger(tmp_path, project="p", mode="offline")
    logger._experiment = dying = Dying()  # type: ignore[attr-defined]
    for step in range(4):
        logger.log_metrics({"loss": 1.0}, step)
    logger.finish()  # type: ignore[attr-defined]
    assert [row["trainer/global_step"] for row in dying.logged] == [0, 1]
    [record] = [record for record in caplog.records if record.name.startswith("twostream")]  # W&B has its own
    assert record.message.startswith("W&B: Connection lost; the run goes on without it. metrics.csv has every number")


@pytest.mark.parametrize(
    ("error", "told"),
    [(None, [0]), (RuntimeError(), [1]), (Stopped(signal.SIGTERM), ["preempting", 143])],
    ids=["finished", "failed", "stopped"],
)
def test_wandb_is_told_how_a_run_ended(error: BaseException | None, told: list, tmp_path: Path) -> None:
    class Run:
        def __init__(self) -> None:
            self.told: list[object] = []

        def mark_preempting(self) -> None:
            self.told.append("preempting")

        def finish(self, exit_code: int) -> None:
            self.told.append(exit_code)

    logger = wandb_logger(tmp_path, project="p", mode="offline")
    logger._experiment = run = Run()  # type: ignore[attr-defined]
    with suppress(RuntimeError, Stopped), finishing([logger]):
        if error is not None:
            raise error
    assert run.told == told


def test_a_run_that_goes_on_is_one_run_of_wandb(tmp_path: Path) -> None:
    assert wandb_logger(tmp_path, project="p", mode="offline").version is None
    for name in ("offline-run-20260102_030405-second", "run-20260101_235959-first", "latest-run"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert wandb_logger(tmp_path, project="p", mode="offline").version == "second"
    (tmp_path / "wandb" / "run-20260103_000000-2022-12-17_10-29-00").mkdir()
    assert wandb_logger(tmp_path, project="p", mode="offline").version == "2022-12-17_10-29-00"


def test_the_key_of_either_address_of_wandb_is_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_key()
    for host, found in (("api.wandb.ai", True), ("api.forge.coreweave.com", True), ("example.org", False)):
        (tmp_path / "netrc").write_text(f"machine {host} login user password key\n")
        assert has_key() == found
        assert (wandb_state().startswith("logged in"), usual_mode() == "online") == (found, found)
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org/wandb")
    assert has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert not has_key(), "that of another server"
    assert wandb_state().startswith("no account")
    (tmp_path / "netrc").write_text('machine example.org login user password ""\n')
    assert not has_key(), "an empty one"
    (tmp_path / "netrc").write_text("default login user password key\n")
    assert has_key(), "as W&B itself takes it"
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org:8080")
    (tmp_path / "netrc").write_text("machine example.org:8080 login user password key\n")
    assert has_key()
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_key()
    (tmp_path / "netrc").rename(tmp_path / "_netrc")
    assert has_key()


def test_rows_that_were_written_stay_when_the_disk_is_full(tmp_path: Path, monkeypatch) -> None:
    writer = WholeRowsWriter(str(tmp_path))
    path = tmp_path / "metrics.csv"
    writer.log_metrics({"a": 1}, 0)
    writer.save()
    writer.log_metrics({"a": 2}, 1)
    writer.save()
    assert path.read_text().splitlines() == ["a,step", "1,0", "2,1"]
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    writer.log_metrics({"b": 3}, 2)  # a new column: Lightning writes the whole file anew
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            writer.save()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.csv"]
    writer.log_metrics({"b": 4}, 3)
    writer.save()
    assert path.read_text().splitlines() == ["a,b,step", "1,,0", "2,,1", ",3,2", ",4,3"]


def test_where_the_numbers_go_is_said_before_they_do(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    loggers: Any = {mode: wandb_logger(folder, project="p", mode=mode) for mode in ("online", "offline", "disabled")}
    places = {mode: logger.place(folder) for mode, logger in loggers.items()}
    assert places == {
        "online": "online, project p",
        "offline": f"offline; upload: wandb sync '{folder}/wandb'/*run-*",
        "disabled": "disabled",
    }
