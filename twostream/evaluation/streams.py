"""Scores a run with one of its streams taken from another video, or showing nothing: what it makes of which stream."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from twostream.config.network import towers
from twostream.data.clip import Clip
from twostream.data.donors import PARTS, WithDonors, own_and_donor
from twostream.evaluation.evaluate import (
    Outcome,
    Prepared,
    Scorer,
    loading,
    outcome_of,
    score_all,
    scores_from,
    views_at_once,
)
from twostream.evaluation.plan import Plan
from twostream.metrics.scores import Scores, one_of_each
from twostream.training.distributed import of_all_processes

SHUFFLED, MEAN = "shuffled", "mean"


class StreamOutcome(NamedTuple):
    """What came of showing a run its test videos in several ways.

    - `whole`: as they are. `ways`: {(stream, SHUFFLED or MEAN): scores with that stream replaced}.
    - `donors`: {id of a video: id of the one whose stream was shown}.
    """

    whole: Outcome
    ways: Mapping[tuple[str, str], Scores]
    donors: Mapping[str, str]


class StreamScorer(Scorer):
    """Keeps of each video the logits of all ways, (m, k): whole, then as in `ways_of`; and who its donor was."""

    def __init__(self, system: Any, dataset: Any, **loading: int) -> None:
        super().__init__(system, WithDonors(dataset), **loading)
        self.donors: dict[int, int] = {}
        self.zeros = [tower.input.mean for tower in towers(system.network).values()]

    def test_step(self, clips: list[Clip], batch_index: int) -> None:
        for clip in clips:
            own, donor = own_and_donor(clip)
            most = views_at_once(own, self.views_per_batch)
            scores = torch.stack([self.system(shown, most)[1] for shown in self.shown(own, donor)], dim=1)
            index = own.index.tolist()
            self.logits |= dict(zip(index, scores.float().cpu().numpy(), strict=True))
            self.donors |= dict(zip(index, donor.index.tolist(), strict=True))

    def shown(self, own: Clip, donor: Clip) -> Iterator[Clip]:
        """Yields what the network is shown, in the order of `logits`."""
        yield own
        for part, zero in zip(PARTS, self.zeros, strict=True):
            yield own._replace(**{part: getattr(donor, part)})
            yield own._replace(**{part: resting(getattr(own, part), zero)})

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.donors = one_of_each(of_all_processes(self.donors))


def resting(stream: Num[Tensor, "n v t c h w"], zero: Float[Tensor, "c 1 1"]) -> Float[Tensor, "n v t c h w"]:
    """Returns a stream of the same shape, in which each channel has the value that the tower takes for 0."""
    return zero.expand(stream.shape)


def ways_of(streams: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns the ways in which one stream is replaced.

    >>> ways_of(("rgb", "flow"))
    [('rgb', 'shuffled'), ('rgb', 'mean'), ('flow', 'shuffled'), ('flow', 'mean')]
    """
    return [(stream, how) for stream in streams for how in (SHUFFLED, MEAN)]


def score_streams(prepared: Prepared, plan: Plan) -> StreamOutcome | None:
    """Scores every view of every video in all ways. Returns None in all processes but the first. Raises as `score`."""
    started = time.perf_counter()
    scorer = StreamScorer(prepared.run.system, prepared.dataset, **loading(prepared, plan))
    if (unreadable := score_all(scorer, prepared, plan)) is None:
        return None
    ways = ways_of(tuple(prepared.run.system.network.streams))
    whole, *replaced = (
        scores_from(prepared, plan, {index: of[way] for index, of in scorer.logits.items()})
        for way in range(1 + len(ways))
    )
    ids = [video.id for video in prepared.dataset.videos]
    return StreamOutcome(
        whole=outcome_of(prepared, whole, unreadable, time.perf_counter() - started),
        ways=dict(zip(ways, replaced, strict=True)),
        donors={ids[own]: ids[donor] for own, donor in scorer.donors.items()},
    )
