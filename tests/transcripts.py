"""Transcripts of docs/: commands and what they print, in blocks of ```console. Written anew by

    python tests/transcripts.py docs/your-videos.md FOLDER    # which holds what the first command needs

Left out are lines of progress, and of three or more lines of one form, such as those of epochs, all but the first and
the last. The path of FOLDER becomes HOME.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

HOME, GAP = "/home/ada", "…"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.S)
PROGRESS = re.compile(r"[\w ,]+: [\d,.]+/[\d,.]+.*|.* …")
MASKS = (  # in this order
    (r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", "#"),  # the folder of a run
    (r"\b[0-9a-f]{16,}\b", "#"),
    ("[▁-█]+", "#"),
    (r"[+−-]?\d[\d,.]*(e-?\d+)?", "#"),
    (r"# (min|h)\b", "# s"),
    (r"# [KMG]\b", "# G"),
    (r"\b(tensor|window|epoch|video|group)s\b", r"\1"),
)


def commands_of(text: str) -> dict[str, list[str]]:
    """Returns what each command of a page prints, in their order."""
    found: dict[str, list[str]] = {}
    for line in [line for block in BLOCK.findall(text) for line in block.splitlines()]:
        if line.startswith("$ "):
            found[line[2:]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def form(line: str) -> str:
    """A line without its numbers, dates and spaces.

    >>> form("epoch 2/10  train/loss 0.002  31.7 s"), form("yoyo  0.567  ▅▇▇▃  2 min")
    ('epoch #/# train/loss # # s', 'yoyo # # # s')
    """
    for pattern, mask in MASKS:
        line = re.sub(pattern, mask, line)
    return " ".join(line.split())


def shortened(lines: Iterable[str]) -> list[str]:
    """Leaves out progress, and lines of one form between the first and the last."""
    alike = [list(group) for _, group in groupby((one for one in lines if not PROGRESS.fullmatch(one)), form)]
    return [line for group in alike for line in (group if len(group) < 3 else (group[0], GAP, group[-1]))]


def words(lines: Iterable[str]) -> list[str]:
    """Returns the words of lines, without numbers: where lines are broken depends on the length of paths."""
    return [word for line in lines for word in form(line).split()]


def write(page: Path, run: Callable[[str], str]) -> None:
    """Runs the commands of a page, and writes what they print into it."""

    def again(block: re.Match[str]) -> str:
        shown = []
        for line in block[0].splitlines():
            if line.startswith("$ "):
                shown += [line, *shortened(run(line[2:]).strip("\n").splitlines())]
        return "\n".join([*shown, ""])

    page.write_text(BLOCK.sub(again, page.read_text()))


def main(page: Path, folder: Path) -> None:
    def run(command: str) -> str:
        print("$", command, flush=True)
        done = subprocess.run(
            command, shell=True, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
        )
        print(done.stdout, flush=True)
        if done.returncode:
            sys.exit(f"exit code {done.returncode}")
        return done.stdout.replace(str(folder.absolute()), HOME)

    write(page, run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
