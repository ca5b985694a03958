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
PROGRESS = re.compile(r"[\w ]+: [\d,.]+/[\d,.]+.*")
DATED = re.compile(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d")  # the folder of a run
HASH = re.compile(r"\b[0-9a-f]{16,}\b")
NUMBER = re.compile(r"[+−-]?\d[\d,.]*(e-?\d+)?")


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

    >>> form("epoch 2/10  train/loss 0.002 (31.7 s)")
    'epoch #/# train/loss # (# s)'
    """
    line = re.sub(r"\btensors\b", "tensor", NUMBER.sub("#", HASH.sub("#", DATED.sub("#", line))))
    return " ".join(line.replace("(# minutes)", "(# s)").split())


def shortened(lines: Iterable[str]) -> list[str]:
    """Leaves out progress, and lines of one form between the first and the last."""
    alike = [list(group) for _, group in groupby((one for one in lines if not PROGRESS.fullmatch(one)), form)]
    return [line for group in alike for line in (group if len(group) < 3 else (group[0], GAP, group[-1]))]


def forms(lines: Iterable[str]) -> list[str]:
    """Returns the forms of lines, each once where several follow one another."""
    return [one for one, _ in groupby(form(line) for line in lines if line != GAP)]


def write(page: Path, run: Callable[[str], str]) -> None:
    """Runs the commands of a page, and writes what they print into it."""

    def again(block: re.Match[str]) -> str:
        shown = []
        for line in block[0].splitlines():
            if line.startswith("$ "):
                shown += [line, *shortened(run(line[2:]).splitlines())]
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
