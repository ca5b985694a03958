"""The accuracies that papers printed, and the runs that they are shown beside; the numbers are in published.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from twostream.files.json_yaml import has_shape, read_yaml
from twostream.options.choices import STREAMS
from twostream.options.streams import in_order
from twostream.report.groups import Group
from twostream.runs.sweep import Cell

FILE = Path(__file__).with_name("published.yaml")
CHOICES = ("data", "backbone", "fusion", "temporal", "attention", "pooling", "sampling")
RESULTS = {
    "!choices": {f"!{name}": str for name in CHOICES},
    "!layer": (str, [str]),
    "split": int,
    "data": {str: {"!videos": int}},
}
CONFIG = {
    "!streams": (str, [str]),
    "!two_towers": bool,
    "!fusion": {},
    "!backbone": {"name": str, "inflate": bool},
    "data": {},
}
USUAL = {  # of a row that does not name them
    "streams": [*STREAMS],
    "temporal": "pool2d",
    "pooling": "native",
    "attention": "none",
    "two_towers": False,
    "splits": [1],
}
BY_BOTH = ("fusion", "layer")  # what one stream has no use for
FLOWS = {
    "dis": "DIS",
    "tvl1": "TV-L1",
    "farneback": "Farnebäck",
    "raft": "RAFT",
    "motion_vectors": "motion vectors",
}
STARTS = ("random", "imagenet", "kinetics")
TEST_VIDEOS = {"ucf101": {1: 3_783, 2: 3_734, 3: 3_696}, "hmdb51": {1: 1_530, 2: 1_530, 3: 1_530}}  # of whole splits
GROUPED = {"ucf11": 1_600, "ucf50": 6_618}  # videos of the data sets whose splits each leave out one group
PARTS = {"train": "train", "validation": "val", "test": "test"}  # of the data, and its name in `unreadable`
UNREADABLE = 0.05  # at most so many of them are missing, or too many in GROUPED; beyond, this is other data
CROPS = {"centre": "1 crop", "full": "whole frames", "five": "5 crops", "ten": "10 crops"}


class Printed(NamedTuple):
    """A number of a paper, and what differs between how it and these runs' were made, as far as known.

    `differs`: {"flow", "weights", "views", "videos" or "test videos": "there TV-L1, here DIS"}. `unknown`: those of
    these that were not read.
    """

    accuracy: float  # correct videos / all videos
    table: str
    paper: str
    differs: Mapping[str, str] = {}
    unknown: tuple[str, ...] = ()


class Row(NamedTuple):
    """A setting of a paper, and what was printed of it."""

    setting: Mapping[str, Any]
    options: Mapping[str, Any]  # of the fusion: those that matter
    splits: tuple[str, ...]
    data: str
    recipe: Mapping[str, Sequence[str]]  # {"flow": one of these, "weights": all of these, "views": [in words]}
    printed: Printed

    def fits(self, setting: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Whether a run has all that the row names. Training is not compared; short runs are shown beside it, too."""
        return all(setting.get(name) == value for name, value in self.setting.items()) and all(
            options.get(name) == value for name, value in self.options.items()
        )


@cache
def published() -> tuple[Row, ...]:
    """Returns all settings and numbers of published.yaml, one for each data set."""
    rows = []
    for source in read_yaml(FILE):
        paper = f"{source['paper']} ({source['read_in']})"
        for row in source["rows"]:
            named = {"flow_backbone": row.get("backbone"), **USUAL, **row}
            table, accuracy = named.pop("table"), named.pop("accuracy")
            splits, options = tuple(sorted(map(str, named.pop("splits")))), named.pop("fusion_options", {})
            recipe = {**source.get("recipe", {}), **named.pop("recipe", {})}
            for data, percent in accuracy.items():
                rows.append(Row(named, options, splits, data, recipe, Printed(percent / 100, table, paper)))
    return tuple(rows)


def printed_number(group: Group) -> Printed | None:
    """Returns the accuracy that a paper printed for a group's data, network and splits.

    Returns None if there is none, or if no run has finished. If several fit, that with the most conditions; of these,
    that whose recipe differs least from the runs'.
    """
    finished = [(cell.folder, cell.results) for cell in group.cells if cell.folder and cell.results]
    chosen = {(c.get("data"), c.get("backbone")) for c in (results.get("choices", {}) for _, results in finished)}
    splits = _splits(group.cells)
    rows = [row for row in published() if row.splits == splits and {row.data} & {data for data, _ in chosen}]
    if not rows:
        return None  # before any file is read, since most sweeps are in no paper
    settings = [_setting(folder, results) for folder, results in finished]
    if None in settings or any(one != settings[0] for one in settings):
        return None
    setting, options, data = settings[0]  # type: ignore[misc]
    fitting = [row for row in rows if row.data == data and row.fits(setting, options)]
    if not fitting:
        return None
    folder, results = finished[0]
    here = recipe_of(read_yaml(folder / "config.yaml"), results)
    most = max(len(row.setting) + len(row.options) for row in fitting)
    missing = dict.fromkeys(text for _, results in finished if (text := _missing(data, results)))
    videos = {"videos" if data in GROUPED else "test videos": "; ".join(missing)} if missing else {}
    compared = [_beside(row, here, videos) for row in fitting if len(row.setting) + len(row.options) == most]
    return min(compared, key=lambda printed: len(printed.differs))


def _splits(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Returns the splits of all planned cells: a mean that lacks a split still belongs beside the mean over three."""
    named = {str(cell.overrides.get("split", cell.results.get("split", "") if cell.results else "")) for cell in cells}
    return tuple(sorted(named - {""}))


def _setting(folder: Path, results: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any], str] | None:
    """Returns the setting of a finished run, the options of its fusion, and its data set.

    Returns None if its config.yaml is gone or damaged, and if it has a part of the data alone, which no paper has.
    """
    try:
        config = read_yaml(folder / "config.yaml")
    except ValueError:
        return None
    if not has_shape(config, CONFIG) or not has_shape(results, RESULTS):
        return None
    choices, layer, streams = results["choices"], results["layer"], config["streams"]
    found, whole = _videos(choices["data"], results)
    most = (1 + UNREADABLE) * whole if choices["data"] in GROUPED else whole  # only the others have official lists
    if config.get("data", {}).get("classes") or not (1 - UNREADABLE) * whole <= found <= most:
        return None
    streams = [*in_order([streams] if isinstance(streams, str) else streams)]
    backbone = _name(choices["backbone"], config["backbone"])
    second = choices.get("backbone@flow_backbone")
    second = _name(second, config.get("flow_backbone") or {}) if second else backbone
    setting: dict[str, Any] = {name: choices[name] for name in CHOICES if name != "data"}
    setting |= {"backbone": backbone, "flow_backbone": second, "streams": streams, "two_towers": config["two_towers"]}
    if len(streams) > 1:
        setting["layer"] = [layer] if isinstance(layer, str) else sorted(layer)
        return setting, config["fusion"], choices["data"]
    used = second if streams == ["flow"] else backbone  # one network, and nothing is fused
    alone = {name: value for name, value in setting.items() if name not in BY_BOTH}
    return alone | {"backbone": used, "flow_backbone": used}, {}, choices["data"]


def _videos(data: str, results: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many videos a run had, and how many there are; of what is not known, the other one, or 0.

    These are the test videos of a split; where splits are groups, whose sizes are not known, those of all its parts.
    """
    parts = PARTS if data in GROUPED else {"test": "test"}
    whole = GROUPED.get(data) or TEST_VIDEOS.get(data, {}).get(results.get("split", 0), 0)
    listed, unreadable = results.get("data", {}), results.get("unreadable") or {}
    known = {"train", "test"} & parts.keys() <= listed.keys()
    found = sum(listed[part]["videos"] for part in parts if part in listed) if known else whole
    found -= sum(len(unreadable.get(name, [])) for name in parts.values())
    return found, whole or found


def _missing(data: str, results: Mapping[str, Any]) -> str:
    """Returns in words how many videos there are and how many a run had; "" if these are equal."""
    found, whole = _videos(data, results)
    return f"there {whole:,}, here {found:,}" if found != whole else ""


def recipe_of(config: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns what is known of how a run was made: {"flow": [its], "weights": those of the streams, "views": [its]}."""
    found: dict[str, list[str]] = {}
    if "flow" in config["streams"] and (flow := results["choices"].get("flow")):
        found["flow"] = [FLOWS.get(flow, str(flow))]
    if starts := results.get("weights"):
        found["weights"] = list(dict.fromkeys(starts.values()))
    sampling, transform = config.get("sampling", {}), config.get("transform", {})
    if transform.get("test") in CROPS and "test_views" in sampling:
        clips, mirrored = sampling["test_views"], ", as they are and mirrored" * bool(transform.get("test_flip"))
        found["views"] = [f"{clips} clip{'s' * (clips != 1)} × {CROPS[transform['test']]}{mirrored}"]
    return found


def _beside(row: Row, here: Mapping[str, Sequence[str]], videos: Mapping[str, str]) -> Printed:
    """Returns the number of a row, with what differs between its recipe and that of the runs, and in their `videos`."""
    differs = {
        what: f"there {(' and ' if what == 'weights' else ' or ').join(there)}, here {'; '.join(here[what])}"
        for what, there in row.recipe.items()
        if what in here and not _alike(what, there, here[what])
    }
    return row.printed._replace(
        differs={**differs, **videos}, unknown=tuple(what for what in here if what not in row.recipe)
    )


def _alike(what: str, there: Sequence[str], here: Sequence[str]) -> bool:
    """Whether a paper's recipe is the runs': one of its flows, its views, the same starts in every stream.

    >>> _alike("flow", ["Brox", "TV-L1"], ["TV-L1"]), _alike("weights", ["ImageNet"], ["imagenet (vgg16.pth)"])
    (True, True)
    >>> _alike("weights", ["ImageNet"], ["imagenet (a.pth)", "random"]), _alike("views", ["whole videos"], ["1 clip"])
    (False, False)
    """
    if what != "weights":
        return here[0] in there
    starts = (start.partition(";")[0].casefold() for start in here)  # behind it: stages that begin at random
    return all({name for name in STARTS if name in start} == {*map(str.casefold, there)} for start in starts)


def _name(choice: str, options: Mapping[str, Any]) -> str:
    """Returns a backbone's name; of one of a library, with its name there: `timm/resnet50d`; `googlenet inflated`."""
    name = f"{choice}/{options['name']}" if options.get("name") else choice
    return f"{name} inflated" if options.get("inflate") else name
