"""Several labels a video, on videos that are made here: two moving cells in each; and mean average precision, twice.

`python -m benchmarks.two_cells DIR` renders the scenes of the embedded data set, but in each of them two of the four
textures move, each its own way, and writes DIR/data.csv, whose column `label` names both: `bars-left;dots-up`.
`python -m benchmarks.two_cells RUN_DIR`, of a run that was trained on them, prints its test/map beside that of
scikit-learn from the same test_scores.npz.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from sklearn.metrics import average_precision_score

from twostream.data.sources.moving_patterns import STEPS, displacements, draw_clip, pattern_names, write_video

CELLS, FRAMES = 4, 12
SIDES = {"train": 1000, "test": 200}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR|RUN_DIR")
    parser.add_argument("--train", type=int, default=SIDES["train"], help="training videos")
    parser.add_argument("--test", type=int, default=SIDES["test"], help="test videos")
    options = parser.parse_args()
    if (options.folder / "test_scores.npz").is_file():
        print("\n".join(f"{name:<28}{value:.12f}" for name, value in both_sides(options.folder).items()))
    else:
        print(render(options.folder, train=options.train, test=options.test))


def render(folder: Path, *, train: int, test: int) -> Path:
    """Writes the videos and data.csv; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, (side, count) in enumerate({"train": train, "test": test}.items()):
        for index in range(count):
            planes, labels = two_cells((part, index))
            write_video(folder / f"{side}-{index:05d}.mp4", planes)
            rows.append([f"{side}-{index:05d}.mp4", ";".join(labels), side])
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["video", "label", "split"], *rows])
    return folder / "data.csv"


def two_cells(seed: tuple[int, int]) -> tuple[UInt8[np.ndarray, "frames rows size"], list[str]]:
    """Draws one scene in which two textures move; returns its frames and its labels."""
    rng = np.random.default_rng((*seed, 1))
    patterns = rng.choice(CELLS, 2, replace=False).tolist()
    ways = rng.choice(list(STEPS), 2).tolist()
    one, other = (
        draw_clip(np.random.default_rng(seed), displacements((way,), FRAMES), pattern=pattern, patterns=CELLS).astype(
            int
        )
        for pattern, way in zip(patterns, ways, strict=True)
    )  # one seed: the same scene, in which something else moves
    names = [f"{pattern_names(CELLS)[pattern]}-{way}" for pattern, way in zip(patterns, ways, strict=True)]
    return (one + other - other[:1]).astype(np.uint8), names


def both_sides(run: Path) -> dict[str, float]:
    """Returns mean average precision as the run has it and as scikit-learn computes it from the run's scores."""
    with np.load(run / "test_scores.npz") as scores:
        logits, labels = scores["logits"], scores["labels"]
    some = labels.any(0)
    told = json.loads((run / "results.json").read_text())["metrics"]["test/map"]
    theirs = average_precision_score(labels[:, some], logits[:, some], average="macro")
    return {"test/map of results.json": told, "scikit-learn": float(theirs)}


if __name__ == "__main__":
    main()
