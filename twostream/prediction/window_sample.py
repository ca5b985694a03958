"""A few windows out of any number of them."""

from __future__ import annotations

import numpy as np

from twostream.data.windows import Step, Window
from twostream.prediction.predictor import Observer, Seen


class WindowSample(Observer):
    """Keeps windows evenly spread over a video, between `most` / 2 and `most` of them, however many there are."""

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
        """So many of those kept, from the first to the last; fewer where there are fewer."""
        places = np.unique(np.linspace(0, len(self.kept) - 1, min(count, len(self.kept))).round().astype(int))
        return [self.kept[place] for place in places]
