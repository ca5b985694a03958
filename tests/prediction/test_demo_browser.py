"""The page of `twostream demo` in Chromium: `pytest -m slow`."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from twostream.prediction.predictor import load

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-gpu"
CAMERA = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"  # a moving picture of its own
BUTTON = "[...document.querySelectorAll('button')].findLast(one => /{}/.test(one.innerText + one.ariaLabel))"
LOOK = BUTTON.format("^Look")
STATUS = "document.querySelector('textarea').value"
HEADINGS = "[...document.querySelectorAll('[data-testid=\"label-output-value\"]')].map(one => one.innerText)"
PICTURES = "[...document.querySelectorAll('img')].map(one => one.naturalWidth).filter(width => width > 300)"


class Browser:
    """Chromium without a window, driven by lines of JSON (its DevTools protocol) through two pipes."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        (read, self._write), (self._read, write) = os.pipe(), os.pipe()
        pipes = f'exec 3<&{read} 4>&{write}; exec "$@"'
        words = [CHROMIUM, "--headless", "--no-sandbox", *QUIET.split(), *CAMERA.split()]
        words += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", pipes, "bash", *words], pass_fds=(read, write), **quiet)
        os.close(read)
        os.close(write)
        self._numbers, self._rest = itertools.count(1), b""
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        [tab] = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        session = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        said = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                piece = os.read(self._read, 1 << 20)
                assert piece, "the browser has ended"
                self._rest += piece
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == number:
                return answer["result"]
            self.events.append(answer)

    def ask(self, script: str) -> Any:
        """What JavaScript says in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What JavaScript says in the page, as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.ask(script)):
            assert time.monotonic() < end, (script, self.ask("document.body.innerText"))
            time.sleep(0.2)
        return value

    def give(self, path: Path) -> None:
        """Chooses a file in the page."""
        root = self.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def hosts(self) -> set[str]:
        """Where it has fetched from."""
        asked = [one for one in self.events if one["method"] == "Network.requestWillBeSent"]
        addresses = [urlsplit(one["params"]["request"]["url"]) for one in asked]
        return {one.netloc for one in addresses if one.scheme not in ("data", "blob")}

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self._write)
        os.close(self._read)


@pytest.fixture
def address(run, make_run) -> Iterator[str]:
    """Of the command's page with two networks."""
    words = [sys.executable, "-m", "twostream.cli", "demo", run, make_run("streams=rgb"), "--port", "0"]
    with subprocess.Popen([*map(str, words), "--device", "cpu"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [process.stdout.readline() for _ in range(2)][1].split()[0]
        process.send_signal(signal.SIGINT)
        assert process.stdout.readlines() == ["ended; uploads are deleted\n"]
    assert process.returncode == 0


@pytest.fixture
def browser(address, tmp_path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    browser = Browser(tmp_path / "profile")
    browser.call("Page.navigate", url=address)
    browser.wait(f"!!{LOOK} && !!document.querySelector('input[type=file]')")
    yield browser
    browser.close()


def test_a_stranger(browser, address, run, video, tmp_path) -> None:
    """Presses the button too early, gives a broken file, then a video, then records one; all comes from the page."""
    browser.ask(f"{LOOK}.click()")
    browser.wait("document.body.innerText.includes('there is no video yet')")
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    browser.give(tmp_path / "broken.mp4")
    browser.wait("document.body.innerText.includes('broken')")
    browser.ask(f"{LOOK}.click()")
    browser.wait("document.body.innerText.includes('broken.mp4: cannot be')")
    browser.ask('document.querySelector(\'[aria-label="Clear"], [aria-label="Remove file"]\').click()')
    browser.wait("!!document.querySelector('input[type=file]')")
    browser.give(video)
    browser.wait("document.body.innerText.includes('right')")
    browser.ask(f"{LOOK}.click()")
    browser.wait(f"{PICTURES}.length == 2")
    assert browser.ask(STATUS).startswith("right.mp4: ")
    first, _ = browser.ask(HEADINGS)
    assert first == load(run, device="cpu").predict(video).top(1)[0][0]
    for name in ("a camera", "Access Webcam", "start recording", "[Ss]top", "a file"):
        browser.wait(f"!!{BUTTON.format(name)}")
        time.sleep(2)  # of a recording
        browser.ask(f"{BUTTON.format(name)}.click()")
    browser.wait("document.body.innerText.includes('sample')")
    browser.ask(f"{LOOK}.click()")
    browser.wait(f"{STATUS}.startsWith('sample.webm: ')")
    assert browser.hosts() == {urlsplit(address).netloc}
    assert not [one for one in browser.events if one["method"] == "Runtime.exceptionThrown"]
