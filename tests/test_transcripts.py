"""The transcripts of docs/ print today what they show: the same lines but for numbers, on videos that are made here."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torchvision
from transcripts import HOME, commands_of, shortened, words
from warm import Warm

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/your-videos.md"
TRANSCRIPT = commands_of(PAGE.read_text())
FAST = ["transform.size=64", "num_workers=0", "flow.length=1", "optimizer.learning_rate=1e-12"]  # stays at its start
GROUPS = {"punch": (4, 3), "yoyo": (6, 2)}  # as in the transcript: recordings, videos of each
COMMAND = "from twostream.cli import main\n\nif __name__ == '__main__':\n    main()\n"  # its workers import it, too
CLASSES = {"punch": "Punch", "yoyo": "YoYo"}


def write_video(path: Path, *, red: bool, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(seed).integers(0, 90, (8, 8)).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(26):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[..., :] = np.roll(texture, 3 * index * red, 1)[..., None]
            picture[..., 0 if red else 2] += 120
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def printed(tmp_path_factory, warm: Warm) -> dict[str, list[str]]:
    """What each command of the transcript prints here."""
    home = tmp_path_factory.mktemp("home")
    for name, (groups, videos) in GROUPS.items():
        for group in range(1, groups + 1):
            for video in range(1, videos + 1):
                path = f"videos/{name}/g{group:02}/v_{CLASSES[name]}_g{group:02}_c{video:02}.avi"
                write_video(home / path, red=name == "punch", seed=10 * group + video)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_0().state_dict(), home / "squeezenet1_0.pth")
    (home / "command.py").write_text(COMMAND)
    environment = {**os.environ, "TWOSTREAM_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    found = {}
    for command in TRANSCRIPT:
        program, *typed = shlex.split(command)
        start = [str(ROOT / "train.py")] if program == "python" else [str(home / "command.py")]
        typed = typed[program == "python" :]
        fast = FAST if any("=" in word for word in typed) else []
        done = warm.run([*start, *typed, *fast], cwd=home, env=environment, timeout=280)
        assert done.returncode == 0, done.stderr
        found[command] = (done.stdout + done.stderr).replace(str(home), HOME).splitlines()
    return found


@pytest.mark.parametrize("command", TRANSCRIPT)
def test_a_command_prints_what_the_page_shows(command: str, printed: dict[str, list[str]]) -> None:
    now = shortened(printed[command])
    assert words(TRANSCRIPT[command]) == words(now), "\n".join(["see tests/transcripts.py; it prints now:", *now])


def test_the_transcript_is_of_four_videos_or_more_in_two_classes() -> None:
    [counts] = re.findall(r"(\d+) classes, (\d+) training and (\d+) test videos", PAGE.read_text())
    classes, training, test = map(int, counts)
    assert classes >= 2
    assert training + test >= 4
