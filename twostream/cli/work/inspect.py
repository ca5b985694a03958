"""Pictures of the inside of a trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twostream.cli.code import files_of
from twostream.config.loaded import load_run
from twostream.config.streams import streams_in
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
from twostream.training.loggers import finishing, log_pictures, wandb_logger


def inspect(
    folder: Path, *, video: str | None, streams: Sequence[str], out: Path | None, wandb: bool, trust: Sequence[str]
) -> None:
    """Draws the network of the run in a folder into `out` (None: RUN_DIR/inspection), and prints what it drew."""
    run = load_run(folder, trust=trust)
    out = inside(folder, "inspection") if out is None else out
    require_writable(out, "name another folder with --out DIR")
    out.mkdir(parents=True, exist_ok=True)
    pictures = draw_weights(run.system.network, streams_in(run.cfg), out)
    if video is not None:
        pictures["grad_cam"] = draw_grad_cam(Predictor(run), video, out, files_of(streams, None))
    for path in pictures.values():
        say(str(path))
    if wandb:
        settings = (run.cfg.logger or {}).get("wandb") or {}
        logger = wandb_logger(out, project=settings.get("project") or "twostream", tags=["inspection"])
        with finishing([logger]):
            log_pictures([logger], {f"inspection/{name}": path for name, path in pictures.items()}, 0)


def draw_weights(network: object, streams: Sequence[Stream], folder: Path) -> dict[str, Path]:
    """Draws first filters, fusions and filters over time, if the network has them. Returns {name: picture}."""
    pictures: dict[str, Path] = {}
    filters = first_filters(network)
    for stream in streams:
        pictures[f"{stream.name}_filters"] = path = folder / f"{stream.name}_filters.png"
        save_filters(stream, filters[stream.name], path)
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
    save_columns(columns, path, title=plain_text(title))
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
