"""Turns a run folder into a folder for others: the network in one file, its preprocessing, its card."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from twostream.config.clips import build_clips
from twostream.config.loaded import TrainedRun, load_run
from twostream.config.saved import CONFIGS, config_file, errors_name_file
from twostream.config.shareable import shareable_config, shareable_results
from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.export.card import model_card
from twostream.export.graph import (
    Predict,
    Streams,
    culprit,
    load_onnx,
    load_pt2,
    program,
    require_onnx,
    scorer,
    to_onnx,
    write_onnx,
    write_pt2,
)
from twostream.export.preprocessing import preprocessing, random_inputs
from twostream.files.atomic import aside_of, delete, remove_left_behind
from twostream.files.digest import sha256
from twostream.files.disk_errors import naming, of_the_disk
from twostream.files.foreign import inside
from twostream.files.writable import require_writable
from twostream.options.choices import FORMATS
from twostream.runs.checkpoint import SAFE, read_checkpoint, write_safetensors
from twostream.runs.results import read_results, write_json
from twostream.training.system import TwoStreamSystem

TOLERANCE = 1e-4  # largest difference of a score from the original's that is accepted
COUNTS = (1, 3)  # batch sizes of the noise that is compared; a graph is made from a batch of 2
LEFT_BY_RUN = ("metrics.csv", "learning_curves.png", "confusion_matrix.png")
READ = (*LEFT_BY_RUN, *CONFIGS, "results.json", "checkpoints/best.ckpt", SAFE)  # all files whose content is published

Say = Callable[[str], None]


def export_run(
    folder: str | Path,
    form: str,
    *,
    to: Path | None = None,
    videos: Sequence[Path] = (),
    repo: str | None = None,
    trust: Sequence[str] = (),
    say: Say = print,
) -> Path:
    """Writes the network of a run and what its users need into the folder `to` (default: RUN_DIR/export); returns it.

    The written file is read back and compared with the original on noise and on `videos`. `repo`: where on the Hub it
    will lie, for the card.

    Raises ValueError, and leaves no file, if the network cannot be exported, if a link leads out of the run's folder
    (what is there must not be published), or if a score differs by more than 1e-4 and by more than three times what
    float32 rounding changes in the original itself. Raises ImportError if an extra is missing.
    """
    if form not in FORMATS:
        raise ValueError(f"--format {form!r}: choose from {', '.join(FORMATS)}")
    if form == "onnx":
        require_onnx()
    for name in READ:
        inside(Path(folder), name)
    run = load_run(folder, trust=trust)
    with errors_name_file(config_file(folder)):
        clips = build_clips(run.cfg, videos)
    if videos and (columns := [stream.column for stream in clips.streams if stream.column]):
        raise ValueError(f"{videos[0]}: the network sees {columns[0]}, of another file, too; leave videos out")
    to = inside(Path(folder), "export") if to is None else to
    require_writable(to, "name another folder with --to DIR")
    if to.resolve() == Path(folder).resolve():
        raise ValueError(f"{to}: is the run folder; choose another one for what is made of it")
    with aside(to) as work:
        _describe(run, clips, work)
        refuse_others(to, work)
        if form == "safetensors":
            write_safetensors(work / SAFE, read_checkpoint(run.checkpoint))
            predict = from_system(load_run(work, trust=trust).system)
        else:
            predict = write_graph(run.system, clips, form, work / FORMATS[form])
        check(run.system, predict, clips, form=form, say=say)
        files = {*os.listdir(work), *os.listdir(to)}
        card = model_card(run, build_clips(run.cfg, (), one_view=False), files, repo=repo)
        (work / "README.md").write_text(card, encoding="utf-8")
        size = sum(path.stat().st_size for path in work.glob(f"{FORMATS[form]}*"))
    say(f"{to / FORMATS[form]}: {size / 1e6:.1f} MB; beside it preprocessing.json, config.json, README.md")
    return to


def check(system: TwoStreamSystem, predict: Predict, clips: ClipDataset, *, form: str, say: Say) -> None:
    """Compares the scores of a file with those of the network. Raises ValueError if a score differs too much."""
    for name, inputs in examples(clips):
        difference = compare(from_system(system), predict, inputs)
        say(f"{FORMATS[form]}: {name}: largest difference of a score {difference:.1e}")
        if not difference <= max(TOLERANCE, 3 * rounding(system, inputs, difference)):  # fails for NaN, too
            raise ValueError(f"--format {form}: the scores of {name} differ by {difference:.1e} from the original's")


def refuse_others(to: Path, work: Path) -> None:
    """Raises ValueError if `to` holds files of another network, which would be taken for those of this one."""
    for name in ("config.json", "preprocessing.json"):
        if (to / name).is_file() and (to / name).read_bytes() != (work / name).read_bytes():
            raise ValueError(f"{to}: holds files of another network ({name} differs); delete them, or choose --to")


def _describe(run: TrainedRun, clips: ClipDataset, work: Path) -> None:
    """Writes all files but the network's."""
    write_json(work / "config.json", shareable_config(run.cfg))
    write_json(work / "preprocessing.json", {**preprocessing(clips, run.system), "checkpoint": sha256(run.checkpoint)})
    if (results := read_results(run.folder)) is not None:
        write_json(work / "results.json", shareable_results(results))
    for name in LEFT_BY_RUN:
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, work / name)


def write_graph(system: TwoStreamSystem, clips: ClipDataset, form: str, path: Path) -> Predict:
    """Writes the network as a graph; returns a function that computes what the file computes.

    Raises ValueError that names the part that cannot be exported.
    """
    example = random_inputs(clips, 2)
    module = scorer(system.network)
    write: Callable[[nn.Module, Streams, Path], None]
    write, load, convert = (write_onnx, load_onnx, to_onnx) if form == "onnx" else (write_pt2, load_pt2, program)
    try:
        write(module, example, path)
    except Exception as error:  # the exporters raise many kinds
        if of_the_disk(error) is not None:
            raise
        part = culprit(module, example, convert)
        raise ValueError(f"--format {form}: cannot export {part}: {first_cause(error)}") from error
    return load(path)


def first_cause(error: BaseException) -> str:
    """Returns the first line of the error at the root; the exporters wrap it in advice on what to try.

    >>> first_cause(ValueError("\\n\\x1b[96mno such operation\\x1b[0m, sorry\\nNext steps:"))
    'no such operation, sorry'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[\d*m", "", str(error))
    return next((line.strip()[:300] for line in plain.splitlines() if line.strip()), type(error).__name__)


def from_system(system: TwoStreamSystem) -> Predict:
    """Returns a function that computes the scores of our own network."""

    def predict(inputs: Streams) -> Tensor:
        first, *others = (tensor.unsqueeze(1) for tensor in inputs.values())
        second = others[0] if others else first[:, :, :, :0]
        nobody = torch.zeros(len(first)).long()
        with torch.inference_mode():
            return system(Clip(first, second, nobody, nobody))[1]

    return predict


def examples(clips: ClipDataset) -> Iterator[tuple[str, Streams]]:
    """Yields (name, inputs) of what is compared: batches of noise, then every video."""
    for count in COUNTS:
        yield f"noise, n = {count}", random_inputs(clips, count, seed=count)
    for index, video in enumerate(clips.videos):
        clip = clips[0, index]
        assert clip is not None
        yield video.path.name, dict(zip([stream.name for stream in clips.streams], clip, strict=False))


def compare(one: Predict, other: Predict, inputs: Streams) -> float:
    """Returns the largest absolute difference of a score."""
    return (one(inputs) - other(inputs)).abs().max().item()


def rounding(system: TwoStreamSystem, inputs: Streams, difference: float) -> float:
    """Returns how far the original's scores are from its own in float64; 0 if `difference` is small anyway.

    Scores of 100,000, which noise may have, are off by more than 1e-4 in float32, whatever computes them.
    """
    if difference <= TOLERANCE:
        return 0.0
    return compare(from_system(system), from_system(copy.deepcopy(system).double()), inputs)


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Yields a folder to write into; its files move into `folder` only if the block raises nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_left_behind(folder)
    work = aside_of(folder / "export", "new")
    work.mkdir()
    try:
        with naming(folder):
            yield work
            for path in sorted(work.iterdir()):
                os.replace(path, folder / path.name)
    finally:
        delete(work)
        if not any(folder.iterdir()):
            folder.rmdir()
