"""Writes the model card, README.md, which tells what a run was, from its own logs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from twostream.config.loaded import TrainedRun
from twostream.config.shareable import shareable_config, shareable_results
from twostream.config.streams import streams_in
from twostream.data.dataset import ClipDataset
from twostream.export.markdown import block, escaped, one_line, rows
from twostream.files.words import counted
from twostream.metrics.plots import read_curves
from twostream.models.network.description import count_parameters
from twostream.options.choices import FORMATS
from twostream.options.streams import Stream, title_of
from twostream.runs.results import read_results

LICENSE = "apache-2.0"  # as LICENSE says
DATA_SETS = {"ucf101": "UCF101", "hmdb51": "HMDB51"}  # data sets of data= that the Hub knows
METRICS = {
    "test/top1": "top-1 accuracy",
    "test/top5": "top-5 accuracy",
    "test/mean_class": "mean class accuracy",
    "test/map": "mean average precision",
    "test/macro_f1": "macro F1",
    "test/micro_f1": "micro F1",
}
OTHER_TYPES = {"test/map": "map", "test/macro_f1": "f1", "test/micro_f1": "f1"}  # of metrics on the Hub; else accuracy
ONE_LABEL = (
    "Top-1 and top-5 are correct videos / all videos; mean class accuracy is the mean of the classes' accuracies."
)
SEVERAL_LABELS = (
    "A video has several labels. Average precision and F1 are of each class, and the means over classes that have "
    "a test video. F1 is at the thresholds in `preprocessing.json`: chosen on validation videos, or one half."
)
RECIPE = (
    "epochs", "batch_size", "accumulate", "optimizer", "schedule", "dropout", "label_smoothing", "loss", "sampler",
    "gradient_clip", "ema", "precision", "train_from", "validation_fraction", "seed",
)  # fmt: skip
ARCHITECTURE = (
    "streams", "layer", "backbone", "flow_backbone", "fusion", "temporal", "pooling", "attention", "two_towers",
)  # fmt: skip


def model_card(run: TrainedRun, test_clips: ClipDataset, files: Collection[str], *, repo: str | None = None) -> str:
    """Returns Markdown with the Hub's metadata in front.

    - `test_clips`: has the views of the run's own test.
    - `files`: names of the files that lie beside the card.
    - `repo`: where on the Hub the card will be, or None.
    """
    found = read_results(run.folder)
    results = None if found is None else shareable_results(found)
    cfg = shareable_config(run.cfg)
    choices = (results or {}).get("choices", {})
    lines = [
        *front_matter(cfg, results),
        f"# {escaped(title(cfg, choices))}",
        "",
        "A two-stream network for video action recognition, trained with the program twostream. "
        "This card was written from the logs of the training run.",
        "",
        *_metrics(run, results, test_clips),
        *_network(run, cfg, choices, results),
        *_recipe(run, cfg, choices, results),
        *_usage(run, files, repo),
        *_limits(run),
        *_versions(results),
    ]
    return "\n".join(lines).rstrip() + "\n"


def title(cfg: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Returns the title, such as "conv at conv5, tiny, moving_patterns"."""
    data, backbone = data_of(cfg, choices), choices.get("backbone") or _target(cfg["backbone"])
    if isinstance(cfg["streams"], str) or len(cfg["streams"]) == 1:
        stream = cfg["streams"] if isinstance(cfg["streams"], str) else cfg["streams"][0]
        return one_line(f"{stream} alone, {backbone}, {data}")
    layer = cfg["layer"] if isinstance(cfg["layer"], str) else "+".join(cfg["layer"])
    return one_line(f"{choices.get('fusion') or _target(cfg['fusion'])} at {layer}, {backbone}, {data}")


def data_of(cfg: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Returns the data set's name: ucf101, hmdb51, folder, moving_patterns …"""
    return one_line(choices.get("data") or _target(cfg["data"]).lower())


def front_matter(cfg: Mapping[str, Any], results: Mapping[str, Any] | None) -> list[str]:
    """Returns the Hub's metadata, as YAML between two lines of dashes."""
    choices = (results or {}).get("choices", {})
    data = data_of(cfg, choices)
    measured = (results or {}).get("metrics", {})
    types = {key: OTHER_TYPES.get(key, "accuracy") for key in METRICS if key in measured}
    content: dict[str, Any] = {
        "license": LICENSE,
        "library_name": "twostream",
        "pipeline_tag": "video-classification",
        "tags": ["twostream", "two-stream", "action-recognition", "video-classification", "optical-flow"],
        "metrics": list(dict.fromkeys(types.values())) or ["accuracy"],
    }
    if data in DATA_SETS:
        content["datasets"] = [data]
    if results is not None:
        values = [
            {"type": kind, "name": METRICS[key], "value": round(float(results["metrics"][key]), 6)}
            for key, kind in types.items()
        ]
        content["model-index"] = [
            {
                "name": title(cfg, choices),
                "results": [
                    {
                        "task": {"type": "video-classification"},
                        "dataset": {
                            "type": data,
                            "name": f"{DATA_SETS.get(data, data)}, test videos of split {cfg['split']}",
                        },
                        "metrics": values,
                    }
                ],
            }
        ]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    return ["---", *text.splitlines(), "---", ""]


def _metrics(run: TrainedRun, results: Mapping[str, Any] | None, clips: ClipDataset) -> Iterator[str]:
    yield from ("## Results", "")
    if results is None:
        yield from ("The run has no results.json: it was not tested.", "")
        return
    data = data_of(run.cfg, results["choices"])
    body = [(name, f"{results['metrics'][key]:.4f}") for key, name in METRICS.items() if key in results["metrics"]]
    yield from rows((f"{DATA_SETS.get(data, data)}, split {results['split']}, test videos", "value"), body)
    said = SEVERAL_LABELS if run.system.multi else ONE_LABEL
    yield from ("", escaped(f"{protocol(clips, before(run))} {said}"), "")
    leaked, unreadable = results.get("leaked", 0), results.get("unreadable") or {}
    if leaked:
        yield from (f"**The weights were trained on {leaked} of these test videos: the numbers mean nothing.**", "")
    for part, videos in unreadable.items():
        yield from (escaped(f"{counted(len(videos), 'video')} of {part} could not be read: left out."), "")


def before(run: TrainedRun) -> str:
    """Says what a score is put through to become a probability."""
    return "before the sigmoid" if run.system.multi else "before softmax"


def protocol(clips: ClipDataset, before: str) -> str:
    """Describes how a video was scored in the test."""
    starts = clips.sampling.fixed(10_000, clips.span)
    crops = len(clips.transform.fixed(240, 320))
    where: Any = clips.transform
    mirrored = " and mirrored" if where.test_flip or where.test == "ten" else ""
    views = f"{counted(starts.shape[0], 'view')} in time"
    return (
        f"Every video is counted once. Its score is the mean, {before}, of {starts.shape[0] * crops} clip(s): "
        f"{views} × {crops} crop(s) of the frame ({where.test}{mirrored}). A clip has T = {starts.shape[1]} chunks of "
        f"{' and '.join(contents(stream) for stream in clips.streams)}."
    )


def contents(stream: Stream) -> str:
    """Says in words what a frame of a stream is.

    >>> from twostream.options.streams import diff, flow, rgb
    >>> contents(rgb()), contents(flow(10)), contents(diff(5))
    ('one RGB frame', 'L = 10 flow fields', 'L = 5 differences of frames')
    """
    if not stream.length:
        return f"one {title_of(stream.name)} frame"
    return f"L = {stream.length} {'flow fields' if stream.made == 'flow' else 'differences of frames'}"


def _network(
    run: TrainedRun, cfg: Mapping[str, Any], choices: Mapping[str, str], results: Mapping[str, Any] | None
) -> Iterator[str]:
    body = [(name, choices.get(name) or _words(cfg.get(name))) for name in ARCHITECTURE if cfg.get(name) is not None]
    parameters = count_parameters(run.system.network)
    body += [
        ("input size", f"{cfg['transform']['size']} × {cfg['transform']['size']}"),
        ("parameters", f"{parameters:,}"),
    ]
    if results is not None and results.get("flops"):
        flops = f"{results['flops'] / 1e9:,.3f} G (a forward pass; a multiplication and an addition count as two)"
        body.append(("FLOPs of a clip", flops))
    flow = cfg["flow"]
    short_side = "" if flow.get("short_side") is None else f", at a short side of {flow['short_side']}"
    if "flow" in run.system.network.streams:
        body.append(("optical flow", f"{_target(flow)}, clipped to ±{flow['bound']:g} pixels{short_side}"))
    yield from ("## Network", "", *rows(("", ""), body), "")


def _recipe(
    run: TrainedRun, cfg: Mapping[str, Any], choices: Mapping[str, str], results: Mapping[str, Any] | None
) -> Iterator[str]:
    yield from ("## Training", "")
    said = {name: _words(cfg[name], choices.get(name)) for name in RECIPE if cfg.get(name) is not None}
    body = [(name, words) for name, words in said.items() if words]  # of `loss` nothing may be chosen
    body += [("trained on", words) for words in run.history.lists]
    body += [(f"{stream} started from", start) for stream, start in _starts(results).items()]
    if facts := (results or {}).get("teacher"):
        seen = " and ".join(map(one_line, facts["streams"]))
        body.append(("learned from", f"a network of {seen}: features after {one_line(facts['layer'])}"))
    if results is not None:
        body.append(("took", f"{results['seconds']:,.0f} s"))
    yield from (*rows(("", ""), body), "")
    yield from _curves(run)
    if results is not None:
        command = " ".join(["twostream train", *results["overrides"]])
        yield from ("The command, without paths:", "", *block([command], "bash"), "")


def _starts(results: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns what the weights of each stream were before training, if results tell; of a file its name alone."""
    told = (results or {}).get("weights") or {}
    return {stream: re.sub(r"\S*/", "", start) for stream, start in told.items()}


def _curves(run: TrainedRun) -> Iterator[str]:
    """Yields a sentence on the epoch that validation chose, or nothing if metrics.csv does not tell."""
    try:
        curves = read_curves(run.folder / "metrics.csv")
    except (OSError, ValueError):
        return
    name = "val/map" if run.system.multi else "val/top1"
    if name in curves:
        epochs, values = curves[name]
        best = max(range(len(values)), key=values.__getitem__)
        yield from (
            f"Of {len(epochs)} epochs, validation chose epoch {epochs[best]:.0f} ({name} {values[best]:.4f}).",
            "",
        )


def _usage(run: TrainedRun, files: Collection[str], repo: str | None) -> Iterator[str]:
    yield from ("## How to use it", "")
    yield from (
        "`preprocessing.json` says, in words and numbers, how a video becomes the network's input, and names the "
        "classes. Inputs are whole numbers as they come: normalisation is inside.",
        "",
    )
    streams = {stream.name: f"{stream.name}_{stream.dtype}" for stream in streams_in(run.cfg)}
    if FORMATS["safetensors"] in files:
        where = f'download_run("{repo}")' if repo else '"FOLDER"'
        lines = ["from twostream.config.loaded import load_run"]
        lines += ["from twostream.export import download_run"] if repo else []
        lines += [
            "",
            f"system = load_run({where}).system  # config.json and model.safetensors; nothing pickled is read",
        ]
        yield from (*block([*lines, "heads, score = system(clip)  # a twostream.data.clip.Clip"], "python"), "")
    if FORMATS["onnx"] in files:
        given = ", ".join(f'"{name}": {streams[name]}' for name in streams)
        lines = ["import onnxruntime", "", f'session = onnxruntime.InferenceSession("{FORMATS["onnx"]}")']
        yield from (
            *block([*lines, f"[score] = session.run(None, {{{given}}})  # (n, k), {before(run)}"], "python"),
            "",
        )
    if FORMATS["torch-export"] in files:
        given = ", ".join(streams.values())
        lines = ["import torch", "", f'program = torch.export.load("{FORMATS["torch-export"]}").module()']
        yield from (*block([*lines, f"score = program({given})  # (n, k), {before(run)}"], "python"), "")
    names = [escaped(name) for name in run.system.classes]
    yield from (f"{len(names)} classes: {', '.join(names)}.", "")


def _limits(run: TrainedRun) -> Iterator[str]:
    names = "names those above their thresholds" if run.system.multi else "always names one of them"
    yield from (
        "## Limits",
        "",
        f"- It knows {len(run.system.classes)} classes and {names}, whatever it is shown; its scores were not "
        "calibrated.",
        "- It was tested on videos of the data set named above only. Other cameras, frame rates, compressions, and "
        "clips that were not cut to one action, are another distribution.",
        "- Optical flow has to be computed as `preprocessing.json` says: another algorithm or bound changes scores.",
        "- Not for decisions about people: nothing was measured about how errors are spread over persons.",
        "- The licence above is that of the program. The videos it was trained on have terms of their own.",
        "",
    )


def _versions(results: Mapping[str, Any] | None) -> Iterator[str]:
    if results is None:
        return
    yield from ("## Versions", "", *rows(("package", "version"), results.get("versions", {}).items()), "")
    if results.get("git"):
        yield from (f"Revision of the code: {escaped(results['git'])}", "")


def _target(config: Any) -> str:
    """Returns the last word of the `_target_` of a configuration.

    >>> _target({"_target_": "twostream.models.fusion.ConvFusion"})
    'ConvFusion'
    """
    return str(config["_target_"]).rsplit(".", 1)[-1]


def _words(value: Any, choice: str | None = None) -> str:
    """Returns a value of the configuration on one line; of an option also its numbers.

    >>> _words({"_target_": "x.sgd", "_partial_": True, "momentum": 0.9}), _words(["rgb", "flow"])
    ('sgd (momentum 0.9)', 'rgb, flow')
    """
    if isinstance(value, dict):
        plain = [f"{key} {item}" for key, item in value.items() if not key.startswith("_") and item is not None]
        name = choice or (_target(value) if "_target_" in value else "")
        inside = ", ".join(plain)
        return f"{name} ({inside})" if name and inside else name or inside
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
