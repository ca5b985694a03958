"""Executes the notebooks and keeps what they print and draw: `python notebooks/execute.py [NAME …]`.

Each runs in an empty folder, with an empty cache, and its file is replaced only when all of its cells have ended well.
Commands write to a pipe, so they print what they print into a log file: lines, no bars. Folders of this machine, times
and speeds are left out of the stored text, and pictures are made small.

`pytest -m notebooks` executes them, too, and compares the cells that are tagged `headline` with what is stored.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat
from nbformat import NotebookNode
from PIL import Image

from twostream.files.atomic import atomic_file

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))
SECONDS = 1800  # for all cells of one; they take a minute or two on a machine without other work
WIDTH, COLOURS = 800, 256  # of a stored picture, at most
NEAR = 0.2  # how far a decimal of a headline may be from the stored one: another processor moved 0.45 to 0.35
TIME = re.compile(
    r"\d[\d.]* (?:s|min|h)(?=\)|$)|\d[\d.]*(?= (?:clips|videos)/s)|\d+:\d\d:\d\d"
    r"|\d[\d.,]* – \d[\d.,]*",  # speeds of several runs in a report
    re.MULTILINE,
)
DECIMAL = re.compile(r"\d+\.\d+")
PIPED = """
def system(command):
    import subprocess
    command = get_ipython().var_expand(command)
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="")
    done.check_returncode()

get_ipython().system = system
"""  # what `!command` calls; IPython's own goes on after a command that failed


def main(names: list[str]) -> None:
    for path in [path for path in NOTEBOOKS if not names or path.stem in names]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TWOSTREAM_CACHE"] = f"{folder}/cache"
            notebook = execute(path, Path(folder))
        with atomic_file(path) as aside:
            nbformat.write(notebook, aside)
        print(f"{path.stem}: {time.monotonic() - started:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


def execute(path: Path, folder: Path) -> NotebookNode:
    """Returns the notebook with what its cells print and draw in `folder`; raises what ends a cell."""
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(PIPED))
    end = time.monotonic() + SECONDS
    nbclient.NotebookClient(
        notebook,
        timeout_func=lambda _cell: max(1, round(end - time.monotonic())),
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    del notebook.cells[0]
    notebook.metadata = metadata  # else the version of Python is in it
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            clean(output, folder)
            if "execution_count" in output:
                output.execution_count = number
    return notebook


def clean(output: NotebookNode, folder: Path) -> None:
    """Leaves out of an output what is of this machine and of this moment, and makes its pictures small."""
    if "text" in output:
        output.text = clean_text(output.text, folder)
    data = output.get("data", {})
    for kind in data:
        if kind.startswith("text/"):
            data[kind] = clean_text(data[kind], folder)
        elif kind == "image/png":
            data[kind] = base64.b64encode(small(base64.b64decode(data[kind]))).decode()


def clean_text(text: str, folder: Path) -> str:
    for name in {str(folder), str(folder.resolve())}:
        text = text.replace(f"{name}/cache/", "~/.cache/twostream/").replace(f"{name}/", "")
    return TIME.sub("…", text)


def small(png: bytes) -> bytes:
    """Returns a picture at most `WIDTH` pixels wide, of at most `COLOURS` colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(file, "PNG", optimize=True)
    return file.getvalue()


def headlines(notebook: NotebookNode) -> list[str]:
    """Returns what each cell that is tagged `headline` prints."""
    tagged = [cell for cell in notebook.cells if "headline" in cell.metadata.get("tags", [])]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in tagged]


def agree(stored: str, found: str) -> bool:
    """Returns whether two headlines are equal, but for decimals, which may be `NEAR` each other.

    >>> agree("16 classes: 0.93", "16 classes: 0.95"), agree("16 classes: 0.93", "15 classes: 0.93")
    (True, False)
    """
    pairs = zip(DECIMAL.findall(stored), DECIMAL.findall(found), strict=False)
    alike = DECIMAL.sub("#", stored) == DECIMAL.sub("#", found)
    return alike and all(abs(float(a) - float(b)) <= NEAR + 1e-9 for a, b in pairs)


if __name__ == "__main__":
    main(sys.argv[1:])
