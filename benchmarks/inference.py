"""What the tests of `twostream report` find where nothing is, and where something is: `python -m benchmarks.inference`.

Two settings, A and B, with some seeds each, are tested on the same videos, which are cut from recordings (groups). A
video is right if

    ease + difficulty of its group and its own + liking of the setting for group and video + luck of the seed + noise

is above 0; all but the ease are normal. Difficulty is shared by all runs, liking by all seeds of a setting, luck by all
videos of a run. Each test is asked about many such studies: how often is p ≤ .05, and how often does the interval hold
the true difference, which a formula gives? `two bootstraps` is the usual one, which draws seeds and groups again, both
with replacement, and takes percentiles; the report does not use it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from jaxtyping import Float

from twostream.report.statistics import SHARE, sign_flip_p, two_levels

LEVEL = 0.05
STUDIES, DRAWS = 4_000, 1_000
TESTS = ("seeds", "groups", "videos", "both", "two bootstraps")
COLUMNS = ("±", "seeds", "groups", "videos", "both", "held by both", "two bootstraps", "held by two bootstraps")


@dataclass(frozen=True)
class World:
    """What studies are drawn from; standard deviations on the scale on which noise and liking have about 0.5."""

    luck: float = 0.0  # of a seed
    gain: float = 0.0  # by how much A is better
    fails: float = 0.0  # share of the runs that fail: their luck is −1 more
    liking: float = 0.5  # of a setting for a video
    liking_group: float = 0.3
    noise: float = 0.5
    difficulty: float = 1.5  # half of its variance is that of groups
    ease: float = 0.8
    seeds: int = 3
    groups: int = 100
    videos: int = 5  # of a group

    @property
    def truth(self) -> float:
        """The difference of the shares of right videos, over all seeds and videos that there could be."""
        parts = (self.luck, self.liking, self.liking_group, self.noise, self.difficulty)
        spread = sqrt(sum(part**2 for part in parts))

        def share(ease: float) -> float:
            return (1 + erf(ease / spread / sqrt(2))) / 2

        whole = share(self.ease + self.gain) - share(self.ease)
        failed = share(self.ease + self.gain - 1) - share(self.ease - 1)
        return (1 - self.fails) * whole + self.fails * failed

    def studies(self, number: int, generator: np.random.Generator) -> Iterator[Float[np.ndarray, "m g v"]]:
        """Yields differences, right under A − right under B, of each seed, group and video."""
        g, v = self.groups, self.videos
        draw = generator.standard_normal
        for _ in range(number):
            hard = self.difficulty * sqrt(0.5) * (draw((g, v)) + draw((g, 1)))
            right = []
            for gain in (self.gain, 0.0):
                liking = self.liking * draw((g, v)) + self.liking_group * draw((g, 1))
                luck = self.luck * draw((self.seeds, 1, 1)) - (generator.random((self.seeds, 1, 1)) < self.fails)
                score = self.ease + gain + hard + liking + luck + self.noise * draw((self.seeds, g, v))
                right.append(score > 0)
            yield right[0].astype(float) - right[1]


WORLDS = {  # what the table calls them
    "no luck": World(),
    "little luck": World(luck=0.05),
    "luck": World(luck=0.12),
    "much luck": World(luck=0.3),
    "1 run of 10 fails": World(luck=0.05, fails=0.1),
    "10 seeds, luck": World(luck=0.12, seeds=10),
    "2 seeds, luck": World(luck=0.12, seeds=2),
    "10 groups, luck": World(luck=0.12, groups=10, videos=20),
    "A better, little luck": World(gain=0.3, luck=0.05),
    "A better, luck": World(gain=0.3, luck=0.12),
}


def two_bootstraps(m: int, g: int) -> Callable[[Float[np.ndarray, "m g"]], tuple[float, float]]:
    """Returns a function of differences that gives the middle 95 % of means of seeds and groups both drawn again."""
    generator = np.random.default_rng(0)
    seeds = generator.multinomial(m, np.full(m, 1 / m), size=DRAWS).astype(float)
    groups = generator.multinomial(g, np.full(g, 1 / g), size=DRAWS).astype(float)

    def interval(x: Float[np.ndarray, "m g"]) -> tuple[float, float]:
        low, high = np.percentile(((groups @ x.T) * seeds).sum(1), SHARE)
        return float(low), float(high)

    return interval


def rates(world: World, studies: int = STUDIES) -> dict[str, float]:
    """Returns {test: how often it finds a difference; "held by …": how often an interval holds the true one}.

    And "±": the standard deviation of a setting's accuracy over seeds, as a report shows it.
    """
    m, g, v = world.seeds, world.groups, world.videos
    variance = 0.0
    shares, usual = np.full((m, g), 1 / (m * g)), two_bootstraps(m, g)
    found: dict[str, float] = dict.fromkeys((*TESTS, "held by both", "held by two bootstraps"), 0)
    for study in world.studies(studies, np.random.default_rng(0)):
        x = study.sum(2) / study.size
        both = two_levels(x, shares, g * v, draws=DRAWS)
        assert both is not None
        p = {
            "seeds": sign_flip_p(x.sum(1).tolist()),
            "videos": sign_flip_p((study.sum(0) / study.size).ravel().tolist(), flips=DRAWS),
            "groups": sign_flip_p(x.sum(0).tolist(), flips=DRAWS),
        }
        p["both"] = max(both.p, p["groups"] or 0)
        low, high = usual(x)
        variance += (m * x.sum(1)).var(ddof=1) / 2 / studies  # of a difference: that of two settings
        for test, value in p.items():
            found[test] += value is not None and value <= LEVEL
        found["two bootstraps"] += not low <= 0 <= high
        found["held by both"] += both.low <= world.truth <= both.high
        found["held by two bootstraps"] += low <= world.truth <= high
    return {"±": sqrt(variance), **{name: count / studies for name, count in found.items()}}


def bench_inference(studies: int) -> None:
    """Prints a row a world, in per cent."""
    titles = ("world", "true Δ", "± of seeds", "p seeds", "p videos", "without groups", "p both", "interval")
    print(f"| {' | '.join((*titles, 'two bootstraps', 'interval'))} |\n|---|" + "---:|" * 9)
    for name, world in WORLDS.items():
        rate = rates(world, studies)
        print(f"| {name} | {100 * world.truth:.1f} | " + " | ".join(f"{100 * rate[key]:.1f}" for key in COLUMNS) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help="of each row; default: %(default)s")
    bench_inference(parser.parse_args().studies)
