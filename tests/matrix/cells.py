"""What the matrix tries: every option that conf/ names, every choice and switch in it, and pairs that meet in a tensor.

All is read from the files of conf/: a new file is a new cell. Only what cannot be read there is written here: what an
option cannot do without, and the pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf

from twostream.config.compose import compose_config
from twostream.options import conf_folder


class Cell(NamedTuple):
    """One configuration. `words`: what is tried; `needs`: what that cannot do without."""

    kind: str  # option, choice, absence or pair
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.words)


NOT_TRIED = {"logger.wandb.mode=online", "allow_change"}  # needs a network connection; a matter of resuming
TINY_VGG = ("transform.size=224", "backbone.width=0.0625", "batch_size=4")
WIDE = ("backbone.weights=null", "batch_size=4")
REAL = (
    *("data.root={real}", "backbone=squeezenet1_0", "backbone.weights=null", "transform.size=64"),
    *("validation_fraction=0.5", "sampling.num_chunks=2", "batch_size=4"),
)
CLIPS = ("sampling=clip", "sampling.num_frames=8", "flow.length=1", "batch_size=4")
NEEDS: Mapping[str, tuple[str, ...]] = {
    **{f"backbone={name}": TINY_VGG for name in ("vgg_m", "vgg16", "vgg16_bn")},
    **{f"backbone={name}": WIDE for name in ("resnet50", "resnet101")},
    **{f"backbone={name}": (*CLIPS, "backbone.weights=null") for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")},
    **{f"backbone={name}": (*CLIPS, "backbone.weights=null") for name in ("swin3d_t", "swin3d_s", "swin3d_b")},
    "backbone=mvit_v2_s": (*CLIPS, "backbone.weights=null", "batch_size=2"),
    "backbone=tiny backbone.inflate=true": CLIPS,
    **{
        f"backbone={name} backbone.inflate=true": (*CLIPS, "backbone.weights=null")
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "googlenet")
    },
    "backbone=timm": ("backbone.name=resnet10t", "backbone.weights=null"),
    "fusion=weighted": ("layer=softmax",),
    "fusion=pyramid": ("layer=[conv3,conv5]", "fusion.channels=8"),
    "fusion=multilevel": ("layer=[conv3,conv5]",),
    "fusion=residual": ("layer=[conv2,conv5]", "two_towers=true", "backbone=resnet18", "backbone.weights=null"),
    "fusion=residual fusion.over_time=thirds": ("layer=conv5", "two_towers=true", "backbone=resnet50", *WIDE),
    "fusion=compact_bilinear": ("fusion.dimension=64",),
    "pooling=compact_bilinear": ("pooling.dimension=64",),
    **{f"pooling={name}": ("pooling.clusters=4",) for name in ("netvlad", "actionvlad", "ghostvlad")},
    "data=ucf101": (*REAL, "data.missing=skip", "data.classes=[Biking,Diving]"),
    "data=hmdb51": (*REAL, "data.missing=skip", "data.classes=[cartwheel,wave]", "validation_fraction=0"),
    "data=moving_patterns data.cells=9": ("data.train_clips=72", "data.test_clips=36", "transform.size=96"),
    "data=moving_patterns data.cells=16": ("data.train_clips=128", "data.test_clips=64", "transform.size=128"),
    "data=folder": ("data.root={real}/hmdb51", *REAL[1:], "data.classes=[cartwheel,wave]"),
    "data=ucf11": ("data.root={ucf11}", *REAL[1:]),
    "data=ucf50": ("data.root={real}/UCF-101", *REAL[1:], "data.classes=[Punch,YoYo]"),  # names as in UCF50
    "trainer=ddp": ("trainer.accelerator=cpu", "trainer.devices=1"),
    "trainer=fsdp": ("trainer.accelerator=cpu", "trainer.devices=1"),
    "flow=motion_vectors": ("data=folder", "data.root={real}/hmdb51", *REAL[1:], "data.classes=[cartwheel,wave]"),
    "flow=raft": ("flow.weights=random", "flow.iterations=1", "data.frames=4"),
    "flow=tvl1": ("flow.warps=1", "flow.scales=2"),
    "schedule=plateau": ("schedule.patience=1",),
    "schedule=step": ("schedule.milestones=[1]",),
    "sampling=segments": ("sampling.num_chunks=2",),
}
EXPERIMENT = ("data=moving_patterns", "sampling.num_chunks=2", "optimizer.learning_rate=1e-3")
RANDOM = ("init.rgb=null", "init.flow=null", "weights=null", "train_from=all")
TRAINED = (
    "init.rgb={rgb}",
    "init.flow={flow}",
    "backbone=tiny",
    "transform.size=64",
)  # the experiment's streams, in small


def options() -> Iterator[Cell]:
    """Each file of conf/."""
    for path in sorted(conf_folder().glob("*/*.yaml")):
        group, name = path.parent.name, path.stem
        word = f"{group}=[{name}]" if group == "logger" else f"{group}={name}"
        needs = NEEDS.get(word, ())
        if group == "experiment":
            yield from experiment(word, path.read_text())
            continue
        yield Cell("option", (word,), needs)
        if group == "backbone":
            needs = tuple(need.replace("backbone.", "flow_backbone.") for need in needs)
            yield Cell("option", (f"backbone@flow_backbone={name}",), (*needs, "align.channels=project"))


def experiment(word: str, text: str) -> Iterator[Cell]:
    """An experiment as it is typed, and with a small backbone in place of VGG: its towers come trained, as it wants."""
    single = "streams:" in text
    if "fc6" in text:  # that tiny lacks
        yield Cell("option", (word,), (*EXPERIMENT, *TINY_VGG, *RANDOM))
    elif word.startswith("experiment=st_"):  # tiny has no residual units
        backbone = "resnet50" if "thirds" in text else "resnet18"  # whose units have 1×1 filters
        small = (f"backbone={backbone}", "backbone.weights=null", "transform.size=64", "batch_size=4")
        yield Cell("option", (word,), (*EXPERIMENT, *small, *RANDOM))
    elif word.startswith("experiment=hybrid_"):  # tiny is no network of timm; these start from no trained streams
        yield Cell("option", (word,), (*EXPERIMENT, "weights=null", "transform.size=64", "batch_size=4"))
        return
    else:
        small = ("backbone=tiny", "weights=null", "transform.size=64") if single else TRAINED
        flow = ("backbone@flow_backbone=tiny",) * ("flow_backbone" in text)
        yield Cell("option", (word,), (*EXPERIMENT, *small, *flow, *("epochs=0",) * ("epochs: 0" in text)))
    if not single:
        yield Cell("option", (word, "data=moving_patterns"))


def choices() -> Iterator[Cell]:
    """Each choice `a | b` that a comment in conf/ offers besides the value that is there, and each switch, switched."""
    for path in [conf_folder() / "config.yaml", *sorted(conf_folder().glob("*/*.yaml"))]:
        group, name = path.parent.name, path.stem
        if group == "experiment" or path.stem == "moving_patterns_order":
            continue
        text = path.read_text(encoding="utf-8").partition("\nhydra:")[0].partition("defaults:\n")
        chosen = {"conf": (), "logger": (f"logger=[{name}]",)}.get(group, (f"{group}={name}",))
        prefix = "" if group in ("conf", "data") else f"{group}."
        for key, value in choices_of((text[0] + text[2]).splitlines()):
            words = (*chosen, f"{prefix}{key}={value}")
            if not NOT_TRIED & {words[-1], key} and "_partial_" not in key:
                yield Cell("choice", words, NEEDS.get(" ".join(words), NEEDS.get(" ".join(chosen), ())))


def choices_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(key, value) of the other choices that the lines of a YAML file offer.

    >>> list(choices_of(["a: # x", "  b: p  # p | q (so) | r: that | a file", "  c: true  # why", "d: null # ram: x"]))
    [('a.b', 'q'), ('a.b', 'r'), ('a.c', 'false'), ('d', 'ram')]
    """
    above: list[tuple[int, str]] = []
    for line in lines:
        found = re.match(r"( *)(\w+): *([^#]*?) *(?:#(.*))?$", line)
        if not found:
            continue
        indent, key, value, comment = len(found[1]), found[2], found[3], found[4] or ""
        above = [(depth, name) for depth, name in above if depth < indent]
        whole = ".".join([*(name for _, name in above), key])
        if not value:
            above.append((indent, key))
        others = [re.match(r"([\w.-]+)(?=$|[:;,]| \()", piece.strip()) for piece in comment.split(" | ")]
        offered = [other[1] for other in (others if len(others) > 1 else ()) if other]
        offered += re.findall(r"^ (\w+): ", comment) if value == "null" and len(others) == 1 else []
        if value in ("true", "false"):
            offered = ["false" if value == "true" else "true"]
        yield from ((whole, other) for other in offered if other != value)


PAIRS = [  # two options that work on one tensor, or of which one changes what the other relies on
    *(f"temporal={name} channels_last=true sampling.num_chunks=2" for name in ("conv3d", "pool2d", "pool3d")),
    *(f"precision=bf16-mixed fusion={n}" for n in ("conv", "bilinear", "compact_bilinear", "multilevel", "pyramid")),
    *(f"precision=bf16-mixed pooling={name}" for name in ("netvlad", "compact_bilinear", "gem", "rmac", "bilinear")),
    *(
        f"attention={attention} attention_over=clip temporal={temporal} sampling.num_chunks=2"
        for attention in ("self", "nonlocal", "se")
        for temporal in ("conv3d", "pool2d")
    ),
    "attention=se attention_after=[conv1,conv3,conv5] two_towers=true",
    *(f"pooling={name} two_towers=true" for name in ("gap", "netvlad", "bilinear", "spp", "native", "gem", "rmac")),
    *(f"pooling={name} layer={layer}" for name in ("gap", "spp") for layer in ("conv3", "fc8", "softmax")),
    *(f"pooling={name} transform.test=full" for name in ("gap", "spp", "netvlad", "center_weighted", "native")),
    *(f"streams={streams} init.{stream}={{{stream}}}" for streams, stream in (("rgb", "rgb"), ("flow", "flow"))),
    *(f"streams={streams} init.{stream}={{{stream}}}" for streams, stream in (("rgb", "flow"), ("flow", "rgb"))),
    *(
        f"backbone.inflate=true sampling=clip sampling.num_frames=4 {further}"
        for further in (
            *("temporal=conv3d", "temporal=pool3d precision=bf16-mixed", "channels_last=true checkpointing=true"),
            *("attention=self attention_over=clip", "pooling=actionvlad pooling.clusters=4", "streams=rgb"),
            *("fusion=cross_attention layer=conv3", "fusion=gated layer=[conv3,conv5]", "streams=[rgb,diff]"),
            *("fusion=bilinear", "fusion=pyramid layer=[conv3,conv5] fusion.channels=8", "layer=softmax fusion=gated"),
        )
    ),
    "backbone@flow_backbone=tiny flow_backbone.inflate=true sampling=clip sampling.num_frames=4 layer=conv4",
    *(f"streams={streams} diff.length=2" for streams in ("diff", "[rgb,diff]", "[diff,flow]")),
    "streams=[rgb,diff] fusion=cross_attention precision=bf16-mixed",
    "streams=[diff,flow] fusion=gated fusion.per=position channels_last=true temporal=conv3d sampling.num_chunks=2",
    "streams=[rgb,diff] fusion=residual",
    "streams=diff init.rgb={rgb}",
    "init.rgb={rgb} init.flow={flow}",
    "init.rgb={rgb} init.flow={flow} train_from=fusion",
    "init.rgb={rgb} init.flow={flow} train_from=fusion two_towers=true",
    "init.rgb={rgb} init.flow={flow} train_from=fc8 layer=fc8",
    "streams=rgb init.rgb={rgb} train_from=fc8",
    "streams=rgb two_towers=true",
    "streams=flow fusion=multilevel layer=[conv3,conv5]",
    "streams=rgb temporal=conv3d sampling.num_chunks=2",
    "streams=flow attention=nonlocal pooling=netvlad pooling.clusters=4",
    *(f"two_towers=true layer={layer}" for layer in ("[conv3,conv5]", "[conv3,fc8]", "softmax", "fc8", "conv1")),
    *(f"layer={layer}" for layer in ("[conv3,conv5]", "[conv5,fc8]", "conv1", "fc8", "softmax", "[conv5,softmax]")),
    *(f"fusion={name} layer=fc8" for name in ("sum", "max", "concat", "conv", "bilinear", "attention", "weighted")),
    *(f"fusion={name} layer=softmax" for name in ("sum", "max", "conv", "bilinear", "gated", "cross_attention")),
    "fusion=residual fusion.both_ways=true precision=bf16-mixed sampling.num_chunks=3",
    *(f"precision=bf16-mixed fusion={name} layer=[conv3,conv5]" for name in ("gated", "cross_attention")),
    *(f"fusion={name} layer=conv5 temporal=conv3d sampling.num_chunks=2" for name in ("sum", "concat", "bilinear")),
    *(f"fusion={name} layer=[conv3,conv5] two_towers=true" for name in ("multilevel", "pyramid")),
    *(f"fusion={name} layer=[conv3,conv5] sampling.num_chunks=2" for name in ("multilevel", "pyramid")),
    *(f"align={align} backbone@flow_backbone=resnet18 fusion.init=kaiming" for align in ("zero_pad", "upconv")),
    *(
        f"align={align} backbone@flow_backbone=resnet18 two_towers=true fusion=concat"
        for align in ("zero_pad", "upconv")
    ),
    *(
        f"align.channels=project backbone@flow_backbone=resnet18 fusion={name} layer={layer}"
        for name, layer in (
            ("sum", "conv5"),
            ("conv", "[conv3,fc8]"),
            ("attention", "conv3"),
            ("pyramid", "[conv3,conv5]"),
        )
    ),
    "backbone@flow_backbone=resnet18 layer=conv3 align=upconv fusion=concat",
    "backbone@flow_backbone=resnet18 layer=conv5 fusion=sum",
    "backbone@flow_backbone=resnet18 streams=rgb",
    "backbone=squeezenet1_0 backbone@flow_backbone=tiny layer=softmax",
    "ema=0.9 compile=true",
    "ema=0.9 pooling=netvlad pooling.clusters=4",
    "ema=0.9 accumulate=2 gradient_clip=0.5",
    "ema=0.9 optimizer=sgd schedule=plateau",
    "accumulate=auto precision=bf16-mixed",
    "accumulate=auto ema=0.9 gradient_clip=1",
    "accumulate=3",
    "schedule=plateau validation_fraction=0",
    "schedule=plateau schedule.warmup_epochs=0.5",
    "schedule=plateau schedule.monitor=train/loss validation_fraction=0",
    "ema=0.9 validation_fraction=0",
    *(f"transform.test={test} transform=paper sampling.test_views=2" for test in ("centre", "full", "five", "ten")),
    "transform=tsn sampling=segments temporal=pool2d",
    *(f"sampling=segments temporal={name}" for name in ("conv3d", "pool2d", "pool3d")),
    "sampling=segments sampling.num_chunks=5 temporal=pool3d sampling.test_views=2",
    "sampling.num_chunks=4 temporal=pool3d",
    "sampling.num_chunks=1 temporal=conv3d",
    "logger=[wandb,tensorboard]",
    "logger=[csv,tensorboard]",
    "label_smoothing=0.1 two_towers=true",
    "dropout.rgb=0 dropout.flow=0.9",
    "data.mirror=true transform=paper",
    "data=moving_patterns_order temporal=conv3d",
    "transform.size=96",
    "data.cache=ram num_workers=2",
    "num_workers=2 persistent_workers=false prefetch=1",
    "test_batch_size=5 batch_size=7",
    "decode_timeout=null decoder=pyav",
    "trainer=ddp ema=0.9",
    "trainer=fsdp ema=0.9",
    "trainer=fsdp pooling=netvlad pooling.clusters=4",
    "trainer=ddp channels_last=true temporal=conv3d sampling.num_chunks=2",
    "precision=16-mixed",
    "precision=bf16-true",
    "compile=true precision=bf16-mixed temporal=conv3d sampling.num_chunks=2",
    "deterministic=true fusion=compact_bilinear fusion.dimension=64",
    "backbone.width=0.5 fusion=pyramid layer=[conv3,conv5]",
    "nonfinite=skip accumulate=2",
    "flow.length=1",
    "flow.length=11 streams=flow",
    "flow.short_side=32 streams=flow",
]


def absences() -> Iterator[Cell]:
    """Each group without an option."""
    for group in sorted(path.name for path in conf_folder().iterdir() if path.is_dir()):
        yield Cell("absence", (f"{group}=null",))


def pairs() -> Iterator[Cell]:
    for pair in PAIRS:
        words = tuple(pair.split())
        typed = {word.partition("=")[0] for word in words}
        needs = [need for word in words for need in NEEDS.get(word, ())]
        yield Cell("pair", words, tuple(need for need in needs if need.partition("=")[0] not in typed))


def all_cells() -> list[Cell]:
    """Each once."""
    return list({cell.name: cell for cell in (*options(), *choices(), *absences(), *pairs())}.values())


BASE = (  # what makes a run small
    *("data.train_clips=24", "data.test_clips=16", "validation_fraction=0.34", "epochs=1", "batch_size=8"),
    *(
        "backbone.width=0.125",
        "flow_backbone.width=0.125",
        "flow.length=2",
        "flow.preset=ultrafast",
        "num_workers=0",
        "logger=csv",
    ),
)


def small(words: Sequence[str]) -> list[str]:
    """The words behind those that make the run small, as far as the options they choose have such a setting."""
    try:
        cfg = compose_config(words)
    except Exception:  # for the command to say
        return [*words]
    there = [word for word in BASE if OmegaConf.select(cfg, word.partition("=")[0], default=cfg) is not cfg]
    return [*there, *words]


def words_of(cell: Cell, *, real: Path | None, ucf11: Path, streams: Mapping[str, Path]) -> list[str]:
    """What is typed: paths for `{real}`, the folder of real clips, `{ucf11}`, and `{rgb}`, `{flow}`, a run of each."""
    paths = {"{real}": str(real), "{ucf11}": str(ucf11), **{f"{{{name}}}": str(path) for name, path in streams.items()}}
    return small([re.sub(r"\{\w+\}", lambda found: paths[found[0]], word) for word in (*cell.needs, *cell.words)])
