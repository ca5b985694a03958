"""Makes docs/moving.webp: four scenes of the embedded data set, and what a trained network says while it sees them.

`python train.py hydra.run.dir=RUN_DIR && python docs/make_moving_picture.py RUN_DIR`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from twostream.data.sources.moving_patterns import MOTIONS, SHAPES, SPEED, displacements, draw_clip, write_video
from twostream.data.windows import Step, Window
from twostream.explain.overlay import motion_picture
from twostream.prediction import Observer, Prediction, Seen, load
from twostream.prediction.canvas import COLOURS, FAINT, INK, PAPER, font

SCENES = ("checks-left", "stripes-right", "bars-up", "dots-down")
FRAMES = 16  # of each scene
SEED = 2046  # of scenes that no training draws, with the motion in another place each
SIDE, GAP, LEFT, TOP, STRIP = 192, 8, 72, 84, 130  # pixels
LARGE, SMALL = 27, 24  # letters, read on a phone, too
WIDTH, HEIGHT = LEFT + 4 * (SIDE + GAP), TOP + 2 * (SIDE + GAP) + STRIP + 76


class Watching(Observer):
    """Keeps a picture of each frame, and of the motion to it."""

    def __init__(self) -> None:
        self.pictures: list[tuple[np.ndarray, np.ndarray]] = []

    def frame(self, step: Step) -> None:
        motion = np.zeros((64, 64, 2), np.float32) if step.motion is None else step.motion
        self.pictures.append((step.rgb, motion_picture(motion, SPEED)))

    def window(self, window: Window, seen: Seen) -> None:
        pass

    def end(self) -> None:
        pass


def film(path: Path) -> None:
    """Writes the scenes one after the other into one video of 10 frames a second."""
    scenes = []
    for number, name in enumerate(SCENES):
        shape, way = name.split("-")
        motion = displacements(MOTIONS["motion"][way], FRAMES)
        rng = np.random.default_rng((SEED, number))
        scenes.append(draw_clip(rng, motion, pattern=SHAPES.index(shape), patterns=len(SHAPES)))
    write_video(path, np.concatenate(scenes))


def draw(now: int, pictures: list[tuple[np.ndarray, np.ndarray]], said: Prediction) -> Image.Image:
    """Draws frame `now`: the scenes above (those before at their end, those to come at their start), scores below."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((LEFT, 6), "The class: which texture moves, and where to", font=font(LARGE), fill=INK)
    for row, name in enumerate(("RGB", "flow")):
        pen.text((LEFT - 8, TOP + row * (SIDE + GAP) + SIDE // 2), name, font=font(SMALL), fill=FAINT, anchor="rm")
    for number, name in enumerate(SCENES):
        shown = min(max(now, number * FRAMES + 1), (number + 1) * FRAMES - 1)
        left = LEFT + number * (SIDE + GAP)
        pen.text((left, TOP - 36), name, font=font(SMALL), fill=COLOURS[number])
        for row, picture in enumerate(pictures[shown]):
            large = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
            canvas.paste(Image.fromarray(large), (left, TOP + row * (SIDE + GAP)))
    draw_scores(pen, now, said)
    return canvas


def draw_scores(pen: ImageDraw.ImageDraw, now: int, said: Prediction) -> None:
    """Draws the probability of each class up to frame `now`, each scene's time below its pictures."""
    bottom = HEIGHT - 14
    words = "What the network says of the last 6 frames: probabilities"
    pen.text((LEFT, bottom - STRIP - 44), words, font=font(LARGE), fill=INK)

    def at(frame: float, score: float) -> tuple[float, float]:
        return LEFT + frame / FRAMES * (SIDE + GAP), bottom - STRIP * score

    for level in (0, 1):
        pen.line([at(0, level), at(4 * FRAMES, level)], fill=(60, 60, 64))
        pen.text((LEFT - 8, at(0, level)[1]), f"{level}", font=font(SMALL), fill=FAINT, anchor="rm")
    frames = np.rint(10 * said.seconds[:, 1]).astype(int)  # each window's last one
    known = int((frames <= now).sum())
    for label, name in enumerate(said.classes):
        points = [at(frame, score) for frame, score in zip(frames[:known], said.scores[:known, label], strict=True)]
        if len(points) > 1:
            pen.line(points, fill=COLOURS[SCENES.index(name)] if name in SCENES else (90, 90, 95), width=3)
    pen.line([at(now, 0), at(now, 1)], fill=INK)


def make(run: Path, to: Path) -> None:
    """Shows the network of a run the film, and writes the moving picture."""
    watching = Watching()
    with tempfile.TemporaryDirectory() as folder:
        film(Path(folder) / "scenes.mp4")
        said = load(run).predict(Path(folder) / "scenes.mp4", stride=0.1, observers=[watching])
    first, *others = (draw(now, watching.pictures, said) for now in range(len(watching.pictures)))
    first.save(to, save_all=True, append_images=others, duration=[*[110] * len(others), 2000], loop=0)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(__file__).with_name("moving.webp"))
