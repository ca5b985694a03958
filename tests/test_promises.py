"""Sentences of README.md and docs/ that state a default or a number: they stand there, and hold. Nothing is trained."""

from __future__ import annotations

import ast
import re
import signal
from collections.abc import Callable
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from paper_numbers import PAPER_PARAMETERS

from benchmarks import flow as bench_flow
from benchmarks import guards as bench_guards
from benchmarks import store as bench_store
from twostream.cli.work import doctor
from twostream.config import protocols
from twostream.config.compose import compose_config
from twostream.config.loss import FEW_OF_CLASS, UNEQUAL
from twostream.config.network import build_network
from twostream.config.run import PROBE_VIEWS
from twostream.config.settle import EPOCHS, FEW, LEAST_EPOCHS, SMALL_BATCH, STEPS
from twostream.data import dataset
from twostream.data.decoding import DECODERS, frames, groups
from twostream.data.flow.opencv import DIS_PRESETS, coarsest_level
from twostream.data.sources import class_folders, sides
from twostream.data.sources import moving_patterns as synthetic
from twostream.data.storage import index, packed
from twostream.data.storage.flow_store import encodings
from twostream.evaluation import evaluate
from twostream.export import run as export_run
from twostream.files import video_files
from twostream.files.signals import Stopped
from twostream.metrics import calibration
from twostream.metrics.contributions import NAMED
from twostream.metrics.intervals import paired
from twostream.models.network.description import count_parameters
from twostream.models.stages import STAGES
from twostream.options import choices, conf_folder
from twostream.prediction.output import UNSURE
from twostream.prediction.predictor import NEAR, near_chance
from twostream.report.contributions import OF_FUSION
from twostream.report.statistics import sign_flip_p
from twostream.runs.results import RESULTS
from twostream.runs.sweep import LEDGER
from twostream.training import finiteness as nonfinite
from twostream.training import loggers, recovery
from twostream.training.system import LOGGED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@cache
def config(*overrides: str) -> DictConfig:
    return compose_config(overrides)


@cache
def option(name: str) -> dict[str, Any]:
    """One file of conf/, as it is written."""
    return yaml.safe_load((conf_folder() / f"{name}.yaml").read_text())


@cache
def page(name: str) -> str:
    """As one line of words."""
    return " ".join((ROOT / name).read_text().split())


def says(path: str, *texts: str) -> bool:
    """Of what only the text of a file tells."""
    found = (ROOT / path).read_text()
    return all(text in found for text in texts)


def constant(path: str, name: str) -> Any:
    """A literal of a test that is not imported."""
    tree = ast.parse((ROOT / path).read_text())
    [value] = [one.value for one in tree.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == name]
    return ast.literal_eval(value)


def named(cfg: Any, *groups: str) -> list[str]:
    """What the groups of a configuration are made from."""
    return [cfg[group]["_target_"].rpartition(".")[2] for group in groups]


def deviation(share: float) -> float:
    """Of the accuracy of guessing on the test videos of the embedded data set."""
    return sqrt(share * (1 - share) / config().data.test_clips)


def of_group(group: str, holds: Callable[[dict[str, Any]], bool]) -> bool:
    return all(holds(option(f"{group}/{path.stem}")) for path in (conf_folder() / group).glob("*.yaml"))


def real_data_are_alike() -> bool:
    """What a data set of real videos brings, beside `data` itself."""
    names = ("folder", "ucf101", "hmdb51", "ucf11", "ucf50")
    kinds = [{k: v for k, v in option(f"data/{n}").items() if k != "data"} for n in names]
    return all(kind == kinds[0] for kind in kinds) and kinds[0]["weights"] == "imagenet"


def extras() -> set[str]:
    [part] = re.findall(r"\[project.optional-dependencies\]\n(.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.S)
    return set(re.findall(r"^(\w+) = \[", part, re.M))


def finest_levels() -> dict[str, int]:
    return {name: cv2.DISOpticalFlow.create(preset).getFinestScale() for name, preset in DIS_PRESETS.items()}


def won_of(videos: int, lost: float) -> int:
    """How many videos a fusion has to win for its gain to be shown, where 60 % were right and it loses some."""
    before = np.arange(videos) < 0.6 * videos
    for won in range(1, videos):
        after = (np.arange(videos) >= lost * won) & (np.arange(videos) < 0.6 * videos + won)
        if paired(before, after)[0] > 0:
            return won
    return videos


def classifier(channels: int) -> int:
    return (channels + 1) * 16


REAL, PAPER = ("data=folder",), ("experiment=t1_conv",)
PLAIN = "layer split seed epochs batch_size streams train_from init precision compile ema"
README: list[tuple[str, Callable[[], bool]]] = [
    ("Python ≥ 3.10", lambda: says("pyproject.toml", 'requires-python = ">=3.10"')),
    ("Apache-2.0. See", lambda: says("LICENSE", "Apache License") and says("pyproject.toml", 'license = "Apache-2.0"')),
    ("optical flow is computed while loading", lambda: config().flow.store is None),
    (
        "trains conv fusion at conv5 on the embedded data set",
        lambda: [config().layer, *named(config(), "fusion", "data")] == ["conv5", "ConvFusion", "MovingPatterns"],
    ),
    ("no account", lambda: option("logger/wandb")["wandb"]["mode"] == "auto"),
    ("`wandb` (offline without an account)", lambda: option("logger/wandb")["wandb"]["mode"] == "auto"),
    (
        "git clone https://github.com/twostream/twostream &&",
        lambda: says("pyproject.toml", 'Repository = "https://github.com/twostream/twostream"\n'),
    ),
    ("p is 0.25 at best", lambda: sign_flip_p([1.0, 1.0, 1.0]) == 0.25),
    ("400 test videos, one seed, so ±0.02 about 1/4", lambda: round(deviation(1 / 4), 2) == 0.02),
    (
        "Real data bring their own defaults: 224×224 pixels, T = 3 chunks of L = 10 flow fields, `backbone=resnet18` "
        "with ImageNet weights, `sampling=segments`, `transform=paper`, `optimizer=finetune`",
        lambda: (
            (cfg := config(*REAL)).transform.size == 224
            and (cfg.sampling.num_chunks, cfg.flow.length, cfg.backbone.weights) == (3, 10, "imagenet")
            and named(cfg, "backbone", "sampling", "transform") == ["resnet18", "Segments", "JitterCrop"]
            and cfg.optimizer.learning_rate == option("optimizer/finetune")["learning_rate"]
            and real_data_are_alike()
        ),
    ),
    ("or `weights=null` for random ones", lambda: config().weights is None and config().backbone.weights is None),
    ("`data.mirror=false`: then nothing is mirrored", lambda: config(*REAL).data.mirror is True),
    ("(whole groups, `validation_fraction`)", lambda: config(*REAL).validation_fraction == 0.1),
    ("(`allow_leak=true`)", lambda: config(*REAL).allow_leak is False),
    (
        "`layer`, the fusion point, is one of `conv1 … conv5, fc6, fc7, fc8, softmax`",
        lambda: (*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8") == STAGES,
    ),
    ("`flow.store=PATH`: read, not computed", lambda: of_group("flow", lambda one: one["store"] is None)),
    ("all with `warmup_epochs`", lambda: of_group("schedule", lambda one: one["warmup_epochs"] == 0)),
    (
        "rates for biases, classifiers, fusion layers, flow conv1",
        lambda: all(
            {"bias_factor", "head_factor", "fusion_factor", "flow_conv1_factor"}
            <= config(f"optimizer={name}").optimizer.keys()
            for name in ("sgd", "adamw", "finetune")
        ),
    ),
    (", ".join(f"`{name}`" for name in PLAIN.split()[:8]), lambda: set(PLAIN.split()) <= option("config").keys()),
    (
        "`runs/<date>/<time>/`, or `runs/sweeps/<axes>-<hash>/<cell>/`",
        lambda: (
            option("config")["hydra"]["run"]["dir"] == "runs/${run_name:${now:%Y-%m-%d}/${now:%H-%M-%S}}"
            and option("config")["hydra"]["sweep"]["dir"].startswith("runs/sweeps/")
        ),
    ),
    (
        "choices, layer, split, seed, fingerprints of the lists of videos, test metrics, parameters, FLOPs, clips/s, "
        "seconds, versions, git revision",
        lambda: (
            {
                *("choices", "layer", "split", "seed", "data", "!metrics", "parameters", "flops", "clips_per_second"),
                *("seconds", "versions", "git"),
            }
            <= RESULTS.keys()
        ),
    ),
    ("`test/top1` and `test/top5`", lambda: {"top1", "top5", "mean_class", "macro_f1"} == set(LOGGED.values())),
    (
        "--protocol paper # or two_stream, tsn, quick; train: as trained",
        lambda: set(protocols.PROTOCOLS) == {"paper", "two_stream", "tsn", "quick", "train"},
    ),
    (
        "--format onnx --video CLIP.avi # or torch-export, safetensors",
        lambda: list(choices.FORMATS) == ["onnx", "torch-export", "safetensors"],
    ),
    ("Extras `onnx`, `hub`", lambda: {"onnx", "hub", "timm", "tensorboard"} <= extras()),
]
FLOW: list[tuple[str, Callable[[], bool]]] = [
    ("A.avi B.avi C.avi`: 9 frame pairs", lambda: says("benchmarks/flow.py", '"--pairs", type=int, default=3')),
    ("(T=5, L=10, 224)", lambda: says("benchmarks/flow.py", '"--size", type=int, default=224')),
    (
        "| ms | 64×64 | 160×120 | 320×240 | 640×480 |",
        lambda: bench_flow.SIZES == ((64, 64), (120, 160), (240, 320), (480, 640)),
    ),
    (
        "halved frames (`medium`) or quartered ones (`ultrafast`, `fast`)",
        lambda: finest_levels() == {"medium": 1, "ultrafast": 2, "fast": 2},
    ),
    (
        "a long side below 91 pixels or a short one below 32, are halved in every preset; below 46 pixels",
        lambda: (
            [coarsest_level(90, n) for n in (91, 90)] == [2, 1]
            and [coarsest_level(n, 320) for n in (32, 31)] == [2, 1]
            and [coarsest_level(n, n) for n in (46, 45)] == [1, 0]
        ),
    ),
    ("(64×64, 3 pixels a frame)", lambda: synthetic.SPEED == 3 and config().transform.size == 64),
]
DATA: list[tuple[str, Callable[[], bool]]] = [
    ("| folder of JPEGs, quality 95, x and y apart", lambda: bench_store.FOLDER_QUALITY == 95),
    (
        "(`--encoding jpeg`, the default: quality 90)",
        lambda: encodings.QUALITY == 90 and says("twostream/cli/flow.py", "choices=ENCODINGS", 'default="jpeg"'),
    ),
    ("T=5, L=10: 50 fields", lambda: bench_store.FIELDS == 50),
    (
        "out of 100 entries as out of 100,000; training on a folder of 200,000 videos",
        lambda: says("benchmarks/index.py", "default=200_000", "100_000"),
    ),
    (
        "2,000 opened videos with each decoder, then 50 epochs",
        lambda: says("benchmarks/soak.py", '"--opens", type=int, default=2000', '"--epochs", type=int, default=50'),
    ),
    ("each field as one JPEG (quality 90;", lambda: encodings.QUALITY == 90),
    ("every frame by itself, short side 256", lambda: packed.SHORT_SIDE == 256),
    ("in DIR/reencoded-256", lambda: bool(class_folders.OURS.fullmatch("reencoded-256"))),
    ("`broken=skip` leaves out videos", lambda: config().broken == "error" and "skip" in dataset.BROKEN),
    (
        "`decode_timeout` (60 s without a frame, however long the video)",
        lambda: config().decode_timeout == 60 == index.PATIENCE,
    ),
]
DECODERS_PAGE: list[tuple[str, Callable[[], bool]]] = [
    (
        "`decoder=auto`, the default, gives the same frames bit for bit",
        lambda: config().decoder == "auto" and tuple(DECODERS) == choices.DECODERS,
    ),
    ("groups above 1,000 packets", lambda: groups.MOST_PACKETS == 1000),
    ("`prepare` compares five frames over each file", lambda: frames.COMPARED == 5),
    ("`twostream doctor FILE…` compares nine, with every decoder", lambda: doctor.COMPARED == 9),
    (
        "the sweep: 55 codecs and formats, widths 2 to 100",
        lambda: (
            sum(len(constant("tests/data/test_agreement.py", name)) for name in ("EXACT", "OTHERS")) == 55
            and says("tests/data/test_agreement.py", "WIDE = range(2, 101)")
        ),
    ),
]
EMBEDDED: list[tuple[str, Callable[[], bool]]] = [
    (
        "2,000 videos for training and 400 for the test",
        lambda: (synthetic.TRAIN_CLIPS["motion"], config().data.test_clips) == (2000, 400),
    ),
    (
        "has four textures of equal luminance statistics, each in a window of its own",
        lambda: config().data.cells == 4,
    ),
    ("and in which of four directions", lambda: len(synthetic.STEPS) == 4),
    ("16 classes, equally many videos each", lambda: config().data.cells * len(synthetic.STEPS) == 16),
    (
        "varies by ±0.012 and one at 1/4 by ±0.022",
        lambda: (round(deviation(1 / 16), 3), round(deviation(1 / 4), 3)) == (0.012, 0.022),
    ),
    (
        "The texture's period is 24 pixels and it moves 3 a frame, so that it is back in its place after 8 frames",
        lambda: (synthetic.WINDOW, synthetic.SPEED, synthetic.PERIOD) == (24, 3, 8),
    ),
    (
        "one moment of a video: the default, for any number of chunks T",
        lambda: (
            set(option("sampling/moving_patterns")["stride"]) == {synthetic.PERIOD} and config().data.frames is None
        ),
    ),
    (
        "with three seeds, those of one stream and of late fusion with one chunk and with four, and asserts the "
        "bounds, and at least 0.9 where",
        lambda: (
            constant("tests/config/test_bounds.py", "CHUNKS") == ("sampling.num_chunks=1", "sampling.num_chunks=4")
            and len(constant("tests/config/test_bounds.py", "SEEDS")) == 3
            and says("tests/config/test_bounds.py", '"data.train_clips=800"', ">= 0.9")
        ),
    ),
    ("puts the chunks 8 frames apart", lambda: config().sampling.stride == [8, 8] and config().data.frames is None),
    (
        "right in 58 of the 96 cases (24 scenes × 4 places), or .604",
        lambda: says("tests/data/test_bounds_by_construction.py", "right == 58") and round(58 / 96, 3) == 0.604,
    ),
    (
        "two chunks 13 frames apart (the default, any number of test views)",
        lambda: (
            option("sampling/moving_patterns_order")["stride"] == [13, 13]
            and option("sampling/moving_patterns_order")["num_chunks"] == 2
        ),
    ),
    (
        "with seed 0 and 2,000 training videos",
        lambda: option("data/moving_patterns_order")["data"]["train_clips"] == 2000,
    ),
    (
        "Accuracy on 400 test videos, seeds 0, 1, 2; trained on `data.train_clips=800`, fusion in the middle on 2,000",
        lambda: (
            (config().data.test_clips, synthetic.TRAIN_CLIPS["motion"]) == (400, 2000)
            and constant("tests/config/test_bounds.py", "SEEDS") == ("seed=0", "seed=1", "seed=2")
        ),
    ),
]
EVALUATE: list[tuple[str, Callable[[], bool]]] = [
    ("10 clips × {as is, mirrored} = 20, whole frames", lambda: 2 * protocols.CLIPS == 20),  # views: test_protocols.py
    ("25 equally spaced frames × 10 crops", lambda: 10 * protocols.FRAMES == 250),
    ("the middles of 25 segments × 10 crops", lambda: protocols.CROPS["tsn"]["test"] == "ten"),
    ("1: the middle clip, the central crop", lambda: protocols.CROPS["quick"]["test"] == "centre"),
    ("(`data.mirror=false`, such as the embedded set)", lambda: config().data.mirror is False),
    ("ECE of Guo et al. 2017, 15 bins", lambda: calibration.__defaults__ == (15,)),
    (
        "6 million input values together (one of 224 × 224 with T = 5 and L = 10, twelve of 64 × 64;",
        lambda: [evaluate.CPU_VALUES // (5 * (3 + 2 * 10) * side**2) for side in (224, 64)] == [1, 12],
    ),
]
EXPORT: list[tuple[str, Callable[[], bool]]] = [
    ("a score that is off by more than 1e-4", lambda: export_run.TOLERANCE == 1e-4),
    ("Extras `onnx`, `hub`", lambda: {"onnx", "hub"} <= extras()),
]
INTERRUPTED: list[tuple[str, Callable[[], bool]]] = [
    ("at most `checkpoint_minutes` (5) of training", lambda: config().checkpoint_minutes == 5),
    (
        "exit code 130 or 143. Ctrl-C twice",
        lambda: [Stopped(one).exit_code for one in (signal.SIGINT, signal.SIGTERM)] == [130, 143],
    ),
    ("requeued, exit code 138", lambda: Stopped(10).exit_code == 138),  # SIGUSR1 on Linux, where SLURM runs
    ("the last two are kept until the run ends", lambda: recovery.KEPT == 2),
    ("after 5 s the run is logged offline", lambda: loggers.ANSWER_SECONDS == 5),
    ("broken after `decode_timeout` seconds", lambda: config().decode_timeout == 60),
    ("refused unless `allow_change=true`", lambda: config().allow_change is False),
    (
        "a checkpoint every 12 seconds instead of 5 minutes",
        lambda: float(bench_guards.MINUTES.partition("=")[2]) * 60 == 12 and config().checkpoint_minutes == 5,
    ),
    ("With `nonfinite=skip` such steps are left out", lambda: config().nonfinite == "stop"),
    ("after 20 in a row the run stops", lambda: nonfinite.MOST_IN_A_ROW == 20),
]
OTHERS: list[tuple[str, str, Callable[[], bool]]] = [
    (
        "docs/features.md",
        "(default, as in `predict`: as many frames as a training clip spans, and half of them)",
        lambda: (
            says("twostream/cli/work/features.py", "options.window or opened.view.length", "max(1, window // 2)")
            and says("twostream/prediction/predictor.py", "self.view.length if window is None", "max(1, length // 2)")
        ),
    ),
    (
        "docs/features.md",
        "(default one per core, or one if the network is on a GPU)",
        lambda: says("twostream/cli/work/features.py", "1 if one_is_enough else min(available_cores(), len(videos))"),
    ),
    ("docs/features.md", "(extra `h5`)", lambda: "h5" in extras()),
    (
        "docs/layers.md",
        "(6 epochs, 400 test videos, one seed; chance is 0.0625)",
        lambda: (config().epochs, config().data.test_clips, 1 / 16) == (6, 400, 0.0625),
    ),
    ("docs/layers.md", "A step of 32 clips", lambda: config().batch_size == 32),
    ("docs/layers.md", "Six epochs each, as above", lambda: config().epochs == 6),
    (
        "docs/layers.md",
        "(416 channels at conv5): both 1.000, with 2,768,912 and with 131,088 parameters in the classifier, 21 times",
        lambda: (
            [classifier(416**2), classifier(option("pooling/compact_bilinear")["dimension"])] == [2_768_912, 131_088]
            and round(classifier(416**2) / classifier(8192)) == 21
        ),
    ),
    (
        "docs/layers.md",
        "forward and backward of 16 maps of 512×14×14",
        lambda: says("benchmarks/layer_costs.py", "batch: int = 16, channels: int = 512, side: int = 14"),
    ),
    ("docs/layers.md", "NetVLAD with 64 clusters", lambda: option("pooling/netvlad")["clusters"] == 64),
    (
        "docs/paper.md",
        "| T, τ | 5, 1 … 10 | 5, 5 … 15 | 5, 1 … 10 |",
        lambda: (config(*PAPER).sampling.num_chunks, list(config(*PAPER).sampling.stride)) == (5, [1, 10]),
    ),
    (
        "docs/paper.md",
        "| 96 | 96 | 96, single streams 128;",
        lambda: (config(*PAPER).batch_size, option("experiment/t3_vgg16_spatial")["batch_size"]) == (96, 128),
    ),
    (
        "docs/paper.md",
        "| .85 everywhere | .85; a single flow stream .9 |",
        lambda: (
            (config(*PAPER).dropout, option("experiment/t3_vgg_m_temporal")["dropout"])
            == ({"rgb": 0.85, "flow": None}, {"flow": 0.9})
        ),
    ),
    (
        "docs/paper.md",
        "| 1e-3, 5e-4 where VGG-16 is fused with itself; `schedule=plateau` |",
        lambda: (
            config(*PAPER).optimizer.learning_rate == 1e-3
            and option("experiment/t5_vgg16_two_towers")["optimizer"] == {"learning_rate": 5e-4}
            and option("experiment/t5_vgg16_single_tower")["optimizer"] == {"learning_rate": 5e-4}
            and named(config(*PAPER), "schedule") == ["plateau"]
        ),
    ),
    (
        "docs/paper.md",
        "| 10 evenly spread clips × flip, whole frames |",
        lambda: (
            (config(*PAPER).sampling.test_views, config(*PAPER).transform.test, config(*PAPER).transform.test_flip)
            == (10, "full", True)
        ),
    ),
    ("docs/paper.md", "| 8 bits, 0 = no motion:", lambda: of_group("flow", lambda one: one["bound"] == 20)),
    ("docs/paper.md", "yes; `fusion.relu=false`", lambda: option("fusion/conv")["relu"] is True),
    ("docs/paper.md", "| `fusion.init=sum`;", lambda: option("fusion/conv")["init"] == "sum"),
    ("docs/processes.md", "(`num_workers=-1`: as many as there are cores, shared)", lambda: config().num_workers == -1),
    (
        "docs/processes.md",
        "29 training and 17 test videos in batches of 14",
        lambda: says(
            "tests/launch/test_processes.py", '"data.train_clips=45", "data.test_clips=17"', '"batch_size=14"'
        ),
    ),
    (
        "docs/distill.md",
        "By default it is the last stage before the scores, and the weight is 50",
        lambda: (config().distill.layer, config().distill.weight) == (None, 50),
    ),
    ("docs/sweeps.md", "`ledger.json` has what was planned", lambda: LEDGER == "ledger.json"),
    ("docs/sweeps.md", "| one after the other | the default |", lambda: "launcher" not in str(option("config"))),
    ("docs/sweeps.md", "(extra `joblib`)", lambda: {"joblib", "submitit", "ray", "optuna"} <= extras()),
    (
        "docs/your-videos.md",
        "# trains and tests two pretrained ResNet-18",
        lambda: (config(*REAL).weights, *named(config(*REAL), "backbone")) == ("imagenet", "resnet18"),
    ),
    (
        "docs/folders.md",
        "(`.mp4`, `.mov`, `.ts`, `.gif` …:",
        lambda: {".mp4", ".mov", ".ts", ".gif"} <= set(video_files.SUFFIXES),
    ),
    (
        "docs/folders.md",
        "(also `training`, `valid`, `validation`, `testing`, in any case)",
        lambda: (
            [sides.side_of(name) for name in ("Training", "VALID", "validation", "testing")]
            == ["train", "validation", "validation", "test"]
        ),
    ),
    ("docs/your-videos.md", "Start from ImageNet weights (the default)", lambda: config(*REAL).weights == "imagenet"),
    ("docs/your-videos.md", "holds out 30 % of each class", lambda: config(*REAL).data.test_fraction == 0.3),
    ("docs/your-videos.md", "`validation_fraction` at 0.1 or more", lambda: config(*REAL).validation_fraction == 0.1),
    (
        "docs/recipe.md",
        "as many as make 30 steps, but at least 6 and at most 20",
        lambda: (EPOCHS, STEPS, LEAST_EPOCHS) == (20, 30, 6),
    ),
    (
        "docs/flow-worth-it.md",
        "five have to be won and none lost, 10 points; of 400 with half as many lost as won it takes 3 points",
        lambda: [won_of(50, 0), won_of(400, 0.5)] == [5, 24] and round(100 * 12 / 400) == 3,
    ),
    ("docs/flow-worth-it.md", "named are up to three whose own interval excludes zero", lambda: NAMED == 3),
    (
        "docs/flow-worth-it.md",
        "`fusion`, `layer`, `align`, `two_towers`, `init`, `train_from`",
        lambda: OF_FUSION == ("streams", "fusion", "layer", "align", "two_towers", "init", "train_from"),
    ),
    ("docs/recipe.md", "below 32 videos a batch", lambda: SMALL_BATCH == 32),
    ("docs/recipe.md", "below 300 training videos", lambda: FEW == 300),
    ("docs/recipe.md", "(two fixed views each", lambda: PROBE_VIEWS == 2),
    (
        "docs/recipe.md",
        "three chunks spread over the video; three test views of these, mirrored too",
        lambda: (cfg := config(*REAL)).sampling.num_chunks == cfg.sampling.test_views == 3 and cfg.transform.test_flip,
    ),
    (
        "docs/recipe.md",
        "AdamW at a low rate for all layers, one epoch of warm-up, half a cosine down",
        lambda: (
            named(cfg := config(*REAL), "schedule") == ["cosine"]
            and cfg.schedule.warmup_epochs == 1
            and cfg.optimizer.learning_rate < option("optimizer/adamw")["learning_rate"] / 10
        ),
    ),
    ("docs/folders.md", "`data.test_fraction` of each class", lambda: config(*REAL).data.test_fraction == 0.3),
    ("docs/unequal-classes.md", "at least 3 times as many training videos as its smallest one", lambda: UNEQUAL == 3),
    ("docs/unequal-classes.md", "fewer than 10 training videos", lambda: FEW_OF_CLASS == 10),
    ("docs/predict.md", "“not sure” below the classes", lambda: UNSURE.startswith("not sure")),
    ("docs/predict.md", "by a tenth of the way from 1/k, of k classes, to 1", lambda: NEAR == 0.1),
    (
        "docs/predict.md",
        "(of 16 classes: below 0.156)",
        lambda: near_chance(np.full((1, 16), 0.156)) and not near_chance(np.full((1, 16), 0.157)),
    ),
]
CLAIMS = [
    *(("README.md", *claim) for claim in README),
    *(("docs/flow.md", *claim) for claim in FLOW),
    *(("docs/data.md", *claim) for claim in DATA),
    *(("docs/decoders.md", *claim) for claim in DECODERS_PAGE),
    *(("docs/embedded.md", *claim) for claim in EMBEDDED),
    *(("docs/evaluate.md", *claim) for claim in EVALUATE),
    *(("docs/export.md", *claim) for claim in EXPORT),
    *(("docs/interrupted.md", *claim) for claim in INTERRUPTED),
    *OTHERS,
]


@pytest.mark.parametrize(("name", "phrase", "holds"), CLAIMS, ids=[f"{n}: {p[:50]}" for n, p, _ in CLAIMS])
def test_what_a_page_says_holds(name: str, phrase: str, holds: Callable[[], bool]) -> None:
    assert phrase in page(name), "mend both, the sentence and its check"
    assert holds()


def sentences(path: Path) -> list[str]:
    """Also cells of tables; without blocks of code."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    return [" ".join(one.split()) for one in re.split(r"(?<=\.)\s|\n\n|\n\|", text)]


def test_every_sentence_that_names_a_default_is_checked() -> None:
    claimed = [(name, part) for name, phrase, _ in CLAIMS for part in re.split(r"[.#|] ", phrase)]
    for path in PAGES:
        for sentence in sentences(path):
            if re.search(r"\bdefaults?\b", sentence) and "PyTorch's default package" not in sentence:
                name = path.relative_to(ROOT).as_posix()
                assert any(name == of and part in sentence for of, part in claimed if "default" in part), sentence


def tables(path: Path) -> list[tuple[str, list[list[str]]]]:
    """Of each table what its section has down to the table's end, and the cells of its rows."""
    found = []
    for section in re.split(r"^#+ ", path.read_text(), flags=re.M):
        for table in re.finditer(r"(?:^\|.*\n?)+", section, flags=re.M):
            lines = [re.split(r"(?<!\\)\|", line.strip("| ")) for line in table[0].splitlines()]
            found.append((section[: table.end()], [[cell.strip() for cell in line] for line in lines[2:]]))
    return found


MEASURED = re.compile(r"[*±×\d.,%\s-]*\d[*±×\d.,%\s-]*( MB)?")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_measured_tables_have_the_command_that_makes_them(path: Path) -> None:
    for section, rows in tables(path):
        cells = [cell for row in rows for cell in row[1:]]
        if 2 * sum(bool(MEASURED.fullmatch(cell)) for cell in cells) >= len(cells):
            assert re.search(r"[`\n](OMP_NUM_THREADS=1 )?(python |pytest |twostream )", section), rows[0]


def test_there_are_measured_tables() -> None:
    numbers = [[bool(MEASURED.fullmatch(c)) for row in rows for c in row[1:]] for p in PAGES for _, rows in tables(p)]
    assert sum(2 * sum(one) >= len(one) for one in numbers) >= 10


def test_parameters_of_every_layer() -> None:
    rows = re.findall(r"\| `(pooling|attention)=(\w+)` \| [\d.]+ \| ([\d,]+) \|", (ROOT / "docs/layers.md").read_text())
    assert len(rows) == 22
    for group, name, parameters in rows:
        cfg = OmegaConf.merge(config(), {})
        OmegaConf.set_struct(cfg, False)
        cfg[group] = option(f"{group}/{name}")
        network = build_network(cfg, 16, meta=True)
        assert count_parameters(network) == int(parameters.replace(",", "")), name


def test_numbers_of_the_paper() -> None:
    """Each row of both pages: our parameters as test_conf.py counts them, the paper's accuracy as conf/ has it."""
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("paper.md", "other-papers.md"))
    rows = re.findall(r"^\| (`\w+`.*?) \| (.*?) \| (.*?) \|", pages, flags=re.M)
    table = [row for row in rows if row[0].split("`")[1] in PAPER_PARAMETERS]
    told: set[str] = set()
    for experiments, accuracies, parameters in table:
        first, *further = re.findall(r"`(\w+)`", experiments)
        names = [first, *(name if name[0] == "t" else f"{first.rpartition('_')[0]}{name}" for name in further)]
        counts = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d{3}", parameters)]
        counts = [sum(counts)] if "+" in parameters else counts
        shown = re.findall(r"[\d.]+", accuracies)
        for i, name in enumerate(names):
            assert PAPER_PARAMETERS[name] == counts[min(i, len(counts) - 1)], name
            assert (
                not shown
                or shown[min(i, len(shown) - 1)] in (conf_folder() / "experiment" / f"{name}.yaml").read_text()
            ), name
        told |= {*names}
    assert told == PAPER_PARAMETERS.keys() - {"paper"}


def test_the_table_of_the_sweep_is_that_of_the_example_report() -> None:
    report = (ROOT / "docs" / "example-report" / "report.md").read_text().splitlines()
    [(_, rows)] = [(s, rows) for s, rows in tables(ROOT / "README.md") if "twostream report runs/sweeps/SWEEP" in s]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    assert len(lines) == 5
    assert set(lines) <= set(report)
    command = next(line.strip() for line in report if line.startswith("    python train.py -m"))
    assert command in page("README.md")


def test_the_citation_is_of_this_version_and_the_one_repository() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert says(
        "pyproject.toml", f'\nversion = "{citation["version"]}"\n', f'Repository = "{citation["repository-code"]}"'
    )
    assert says("pyproject.toml", f'license = "{citation["license"]}"', f'name = "{citation["authors"][0]["name"]}"')
    assert citation["cff-version"] == "1.2.0"
    [paper] = citation["references"]
    assert (paper["type"], paper["doi"]) == ("conference-paper", "10.1109/CVPR.2016.213")
    assert paper["url"] in page("README.md")
