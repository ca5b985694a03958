"""Pictures of the inside of a trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twostream.cli.code import files_of
from twostream.config.loaded import TrainedRun, load_run
from twostream.config.starts import backbone_config
from twostream.config.streams import side_of, streams_in
from twostream.data.windows import View, Window
from twostream.explain.pictures import (
    Column,
    save_columns,
    save_filters,
    save_fusion,
    save_taps,
)
from twostream.explain.weights import first_filters, learned_fusions, learned_taps
from twostream.files.errors import say
from twostream.files.foreign import inside
from twostream.files.writable import require_writable
from twostream.metrics.plots import plain_text
from twostream.options.streams import Stream
from twostream.prediction.predictor import Predictor, Seen
from twostream.prediction.sheet import pictures_at
from twostream.prediction.window_sample import WindowSample
from twostream.runs.results import read_results
from twostream.training.loggers import finishing, log_pictures, wandb_logger

SCALE = "red: speaks most for this class,\nin each row on a scale of its own"


def inspect(
    folder: Path, *, video: str | None, streams: Sequence[str], out: Path | None, wandb: bool, trust: Sequence[str]
) -> None:
    """Draws the network of the run in a folder into `out` (None: RUN_DIR/inspection), and prints what it drew."""
    run = load_run(folder, trust=trust)
    out = inside(folder, "inspection") if out is None else out
    require_writable(out, "name another folder with --out DIR")
    out.mkdir(parents=True, exist_ok=True)
    pictures = draw_weights(run.system.network, streams_in(run.cfg), out, starts=starts_of(run))
    if video is not None:
        pictures["grad_cam"] = draw_grad_cam(Predictor(run), video, out, files_of(streams, None))
    for path in pictures.values():
        say(str(path))
    if wandb:
        settings = (run.cfg.logger or {}).get("wandb") or {}
        logger = wandb_logger(out, project=settings.get("project") or "twostream", tags=["inspection"])
        with finishing([logger]):
            log_pictures([logger], {f"inspection/{name}": path for name, path in pictures.items()}, 0)


def starts_of(run: TrainedRun) -> dict[str, str]:
    """Returns {stream: what its weights were before training}; of an old run, as far as its configuration says."""
    told = (read_results(run.folder) or {}).get("weights") or {
        stream.name: (run.cfg.get("init") or {}).get(side_of(run.cfg, stream.name))
        or backbone_config(run.cfg, stream.name).get("weights")
        or "random"
        for stream in streams_in(run.cfg)
    }
    return {stream: in_words(start) for stream, start in told.items()}


def in_words(start: str) -> str:
    """Returns what a stream starts from, without folders.

    >>> in_words("random"), in_words("w/net.pth, first layer summed"), in_words("runs/a/checkpoints/best.ckpt")
    ('random values', 'net.pth, first layer summed', 'the run a')
    """
    if start == "random":
        return "random values"
    name, comma, more = start.partition(", ")
    path = Path(name)
    return (f"the run {path.parts[-3]}" if "checkpoints" in path.parts[1:-1] else path.name) + comma + more


def draw_weights(
    network: object, streams: Sequence[Stream], folder: Path, *, starts: Mapping[str, str]
) -> dict[str, Path]:
    """Draws first filters, fusions and filters over time, if the network has them. Returns {name: picture}.

    `starts`: {stream: what its filters were before training}.
    """
    pictures: dict[str, Path] = {}
    filters = first_filters(network)
    for stream in streams:
        pictures[f"{stream.name}_filters"] = path = folder / f"{stream.name}_filters.png"
        save_filters(stream, filters[stream.name], path, start=starts.get(stream.name, ""))
    for name, shares in learned_fusions(network).items():  # type: ignore[arg-type]
        pictures[f"fusion_{name}"] = path = folder / f"fusion_{name}.png"
        save_fusion(name, shares, path, streams=list(filters))
    if taps := learned_taps(network):  # type: ignore[arg-type]
        pictures["over_time"] = folder / "over_time.png"
        save_taps(taps, pictures["over_time"], streams=list(filters))
    return pictures


def draw_grad_cam(predictor: Predictor, video: str, folder: Path, files: Mapping[str, Path]) -> Path:
    """Draws Grad-CAM of every chunk of the window in the middle of a video. Returns the picture."""
    sample = WindowSample()
    predictor.predict(video, files=files, observers=[sample])
    window, seen = sample.kept[len(sample.kept) // 2]
    columns = chunk_columns(window, seen, predictor.view)
    path = folder / "grad_cam.png"
    label = f"{predictor.classes[seen.label]} {seen.scores[seen.label]:.2f}"
    title = f"{Path(video).name}, {window.seconds[0]:.1f} to {window.seconds[1]:.1f} s: {label}"
    save_columns(columns, path, title=f"{plain_text(title)}\n{SCALE}")
    return path


def chunk_columns(window: Window, seen: Seen, view: View) -> list[Column]:
    """Returns a column for each chunk of a window."""
    largest = {name: float(map_.max()) for name, map_ in seen.maps.items()}
    return [
        Column(
            f"frame {frame}",
            pictures_at(window, place, view),
            {name: map_[place] for name, map_ in seen.maps.items()},
            largest,
        )
        for place, frame in enumerate(window.shown.tolist())
    ]
