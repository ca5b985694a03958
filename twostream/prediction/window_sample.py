"""Keeps a few windows of a video that may have any number of them."""

from __future__ import annotations

import numpy as np

from twostream.data.windows import Step, Window
from twostream.prediction.predictor import Observer, Seen


class WindowSample(Observer):
    """Keeps windows evenly spread over a video, at most `most` of them.

    At least `most` / 2 are kept, if the video has so many.
    """

    def __init__(self, most: int = 12) -> None:
        self.most = most
        self.kept: list[tuple[Window, Seen]] = []
        self._every = 1
        self._count = 0

    def frame(self, step: Step) -> None:
        pass

    def window(self, window: Window, seen: Seen) -> None:
        if self._count % self._every == 0:
            self.kept.append((window, seen))
        if len(self.kept) > self.most:
            self.kept, self._every = self.kept[::2], 2 * self._every
        self._count += 1

    def end(self) -> None:
        pass

    def spread(self, count: int) -> list[tuple[Window, Seen]]:
        """Returns `count` of the windows kept, spread from the first to the last; all of them if there are fewer."""
        places = np.unique(np.linspace(0, len(self.kept) - 1, min(count, len(self.kept))).round().astype(int))
        return [self.kept[place] for place in places]
