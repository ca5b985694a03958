"""A page for the browser in which trained networks look at videos; the one file that knows gradio.

Nothing of a video stays: what is uploaded, and what is drawn of it, is deleted after an hour, and when the page ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, asynccontextmanager, suppress
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI

from twostream.data.decoding import claimed_seconds
from twostream.data.sources.source import BETWEEN
from twostream.data.windows import Step, Window
from twostream.explain.pictures import save_columns
from twostream.files.errors import UserError, checked, one_line, printable, say
from twostream.files.video_files import SUFFIXES
from twostream.files.words import counted
from twostream.prediction.annotated import AnnotatedFilm
from twostream.prediction.canvas import colours_of
from twostream.prediction.output import UNSURE
from twostream.prediction.predictor import Observer, Prediction, Predictor, Seen, best
from twostream.prediction.sheet import sheet_column
from twostream.prediction.window_sample import WindowSample

MOMENTS = 4  # pictures side by side
SWEEP, KEPT = 60, 3600  # seconds: how often files are looked through, and how old one becomes
WAITING = 20  # videos that may wait for their turn
FROM_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"  # a browser fetches nothing from elsewhere


class Limits(NamedTuple):
    """How much is shown and taken: classes, the first seconds of a video, megabytes of a file."""

    top: int
    seconds: float
    megabytes: int


def serve(
    shown: Mapping[str, Predictor], listener: socket.socket, limits: Limits, *, video: Path | None = None
) -> None:
    """Answers browsers until Ctrl-C or SIGTERM. `shown`: {name: network}; `video`: the one that is there at first.

    Raises ValueError for a network that sees other files beside the video.
    """
    for name, predictor in shown.items():
        columns = [stream.column for stream in predictor.view.streams if stream.column]
        if columns and len(predictor.view.streams) > 1:
            raise ValueError(
                f"{name}: sees {columns[0]} beside the video, and a page takes one file: "
                f"twostream predict {name} VIDEO --stream {columns[0]}=PATH"
            )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host, port = listener.getsockname()[:2]
    with TemporaryDirectory(prefix="twostream-demo-", ignore_cleanup_errors=True) as folder:
        server = make_server(shown, limits, folder=Path(folder), video=video)
        everybody = "" if host in ("127.0.0.1", "::1") else "whoever reaches this machine can open it; "
        say(f"http://{f'[{host}]' if ':' in host else host}:{port}  ({everybody}Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    say("ended; uploads are deleted")


def make_server(
    shown: Mapping[str, Predictor], limits: Limits, *, folder: Path, video: Path | None = None
) -> uvicorn.Server:
    """Returns the server of the page; its files are in `folder`."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "kept")
    page = make_page(shown, limits, folder=folder, video=video)

    @asynccontextmanager
    async def swept(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(sweep(folder, stay=set(folder.rglob("*"))))
        yield
        task.cancel()

    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=swept),
        page,
        path="/",
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        max_file_size=f"{limits.megabytes}mb",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
    )
    headers = [("Content-Security-Policy", FROM_HERE)]
    return uvicorn.Server(uvicorn.Config(app, log_level="critical", headers=headers, timeout_graceful_shutdown=1))


async def sweep(folder: Path, *, stay: Set[Path]) -> None:
    """Deletes what is old in a folder, again and again, but for the files that `stay`."""
    while True:
        await asyncio.sleep(SWEEP)
        for path in set(folder.rglob("*")) - stay:
            if path.is_file() and time.time() - path.stat().st_ctime > KEPT:
                path.unlink(missing_ok=True)


def make_page(shown: Mapping[str, Predictor], limits: Limits, *, folder: Path, video: Path | None) -> gr.Blocks:
    """Builds the page: a video above, below it what each network says of it, side by side."""
    with gr.Blocks(title="twostream demo", analytics_enabled=False) as page:
        gr.Markdown("# What does a two-stream network see?")
        with gr.Row():
            with gr.Column():
                with gr.Tab("a file"):
                    given = gr.File(video and str(video), label="a video", file_types=["video", *SUFFIXES], height=220)
                with gr.Tab("a camera"):
                    recorded = gr.Video(label="recorded here", sources=["webcam"], include_audio=False, height=220)
                recorded.change(None, recorded, given, js="video => video")  # so the other tab has it, too
            with gr.Column():
                gr.Markdown(
                    f"Upload a video of up to {limits.megabytes} MB, or record one. "
                    f"Its first {limits.seconds:g} seconds are looked at, on the machine that runs this page."
                )
                wants_film = gr.Checkbox(label="draw a film, too: takes about twice as long")
                button = gr.Button("Look", variant="primary")
                status = gr.Textbox(label="so far", lines=2)
        with gr.Row():
            answers = [Answer(name, predictor, limits) for name, predictor in shown.items()]
        outputs = [status, *(part for answer in answers for part in answer.parts)]

        def look(path: str | None, film: bool, progress: Any = gr.Progress()) -> Iterator[dict[Any, Any]]:  # noqa: B008
            """Yields what changes in the page, network after network."""
            if path is None:
                raise gr.Error("there is no video yet: upload or record one", print_exception=False)
            since = time.monotonic()
            try:
                with checked(), TemporaryDirectory(dir=folder) as drawn:
                    found: dict[Any, Any] = {status: ""}
                    found |= {answer.column: gr.Column(visible=False) for answer in answers}
                    yield found  # what was said of the video before goes
                    for place, answer in enumerate(answers):
                        out = Path(drawn, str(place))
                        out.mkdir()
                        found |= answer.fill(Path(path), out, film=film, tell=progress)
                        found[status] = f"{os.path.basename(path)}: {time.monotonic() - since:.1f} s"
                        yield found
            except UserError as error:
                text = one_line(error).replace(f"{os.path.dirname(path)}{os.sep}", "")
                raise gr.Error(escape(text), duration=None, print_exception=False) from None

        # one at a time: a network that explains itself watches its own layers
        button.click(look, [given, wants_film], outputs, concurrency_limit=1, show_progress_on=status, api_name="look")
    return page.queue(max_size=WAITING)


class Answer:
    """What one network says of a video: the column of the page, and what fills it."""

    def __init__(self, name: str, predictor: Predictor, limits: Limits) -> None:
        self.name = name
        self.predictor = predictor
        self.limits = limits
        with gr.Column():
            gr.Markdown(f"### `{printable(name)}`\n{described(predictor)}")
            with gr.Column(visible=False) as self.column:
                self.facts = gr.Textbox(label="looked at")
                self.classes = gr.Label(label="classes", num_top_classes=limits.top)
                self.chart = gr.LinePlot(
                    x="seconds",
                    y="probability",
                    color="class",
                    y_lim=[0, 1],
                    tooltip="all",
                    colors_in_legend=[],  # it would be cut off on a phone
                    label="over time, in seconds",
                    height=280,
                )
                self.legend = gr.HTML()
                self.picture = gr.Image(show_label=False, buttons=["download", "fullscreen"])
                self.film = gr.Video(label="film", loop=True, visible=False)
                self.table = gr.Dataframe(label="windows", interactive=False, max_height=300)
        self.parts = (
            self.column,
            self.facts,
            self.classes,
            self.chart,
            self.legend,
            self.picture,
            self.film,
            self.table,
        )

    def fill(self, path: Path, out: Path, *, film: bool, tell: Callable[..., Any]) -> dict[Any, Any]:
        """Returns what the column shows of a video; the pictures are written into `out`."""
        predictor, limit = self.predictor, self.limits.seconds
        seconds = claimed_seconds(path) or limit
        end = min(seconds, limit)
        sample = WindowSample()
        observers: list[Observer] = [sample, Told(tell, self.name, end, predictor.classes)]
        with ExitStack() as stack:
            if film:
                drawn = AnnotatedFilm(
                    out / "film.mp4",
                    title=path.name,
                    classes=predictor.classes,
                    view=predictor.view,
                    maps=list(predictor.layers),
                    duration=end,
                )
                observers.append(stack.enter_context(drawn))
            prediction = predictor.predict(path, limit=limit, observers=observers)
        columns = [sheet_column(prediction, *look, predictor.view) for look in sample.spread(MOMENTS)]
        save_columns(columns, out / "picture.png", title="what it saw, and where it looked")
        return {
            self.column: gr.Column(visible=True),
            self.facts: facts(prediction, limit if seconds > limit else None),
            self.classes: {printable(name): score for name, score in prediction.top(self.limits.top)},
            self.chart: chart(prediction, self.limits.top),
            self.legend: legend(prediction, self.limits.top),
            self.picture: str(out / "picture.png"),
            self.film: gr.Video(str(out / "film.mp4") if film else None, visible=film),
            self.table: table(prediction, self.limits.top),
        }


class Told(Observer):
    """Moves the bar of the page: how much of the video was seen, and the best class of the latest window."""

    def __init__(self, tell: Callable[..., Any], name: str, end: float, classes: Sequence[str]) -> None:
        self.tell = tell
        self.name = name
        self.last = end  # second
        self.classes = classes
        self.text = name

    def frame(self, step: Step) -> None:
        self.tell(min(1.0, step.second / self.last), desc=printable(self.text))

    def window(self, window: Window, seen: Seen) -> None:
        said = f"{self.classes[seen.label]} {seen.scores[seen.label]:.2f}"
        self.text = f"{self.name}: {said} at {window.seconds[1]:.1f} s"

    def end(self) -> None:
        self.tell(1.0, desc=printable(f"{self.name}: drawing"))


def described(predictor: Predictor) -> str:
    """Returns what a network sees and, in the same line, which of the pictures it has not."""
    names = [stream.name for stream in predictor.view.streams]
    lacks = []
    if len(names) == 1:
        lacks.append("one stream, so no fused map")
    elif "fused" not in predictor.layers:
        lacks.append("its streams meet behind their last maps, so no fused map")
    if all(stream.made != "flow" for stream in predictor.view.streams):
        lacks.append("no flow")
    return "; ".join([" + ".join(names), f"{len(predictor.classes)} classes", *lacks])


def facts(prediction: Prediction, limit: float | None) -> str:
    """Returns what was looked at and what else has to be known; `limit`: the seconds after which it was cut off."""
    seconds, windows = float(prediction.seconds.max()), counted(len(prediction.scores), "window")
    lines = [f"{counted(prediction.num_frames, 'frame')}, {seconds:.1f} s, {windows}"]
    if limit is not None:
        lines.append(f"only its first {limit:g} s")
    if prediction.thresholds is not None:
        lines.append(f"above its threshold: {', '.join(prediction.present()) or 'none'}")
    if prediction.unsure:
        lines.append(UNSURE)
    return "\n".join(map(printable, lines))


def chart(prediction: Prediction, top: int) -> gr.LinePlot:
    """Returns the probabilities of the best classes over time: a point in the middle of each window."""
    labels = best(prediction.overall, top)
    times, scores = prediction.seconds.mean(1), prediction.scores
    if len(scores) == 1:  # it has the same for all of the video
        times, scores = prediction.seconds[0], np.repeat(scores, 2, axis=0)
    parts = [
        pd.DataFrame({"seconds": times, "probability": scores[:, k], "class": printable(prediction.classes[k])})
        for k in labels
    ]
    colours = {printable(prediction.classes[k]): f"rgb{colour}" for k, colour in colours_of(labels).items()}
    return gr.LinePlot(pd.concat(parts), color_map=colours)


def legend(prediction: Prediction, top: int) -> str:
    """Returns HTML: which colour is which class."""
    labels = best(prediction.overall, top)
    names = [escape(printable(prediction.classes[k])) for k in labels]
    colours = colours_of(labels).values()
    marked = [f'<b style="color: rgb{one}">━</b> {name}' for one, name in zip(colours, names, strict=True)]
    return " ".join(f'<span style="display: inline-block; margin-right: 1em">{one}</span>' for one in marked)


def table(prediction: Prediction, top: int) -> dict[str, list[Any]]:
    """Returns a row for each window: when it is, its best class, and the probabilities of the video's best classes."""
    labels = best(prediction.overall, top)
    several = prediction.thresholds is not None
    rows = [
        [
            f"{start:.1f} – {end:.1f}",
            BETWEEN.join(prediction.present(scores)) if several else prediction.classes[int(scores.argmax())],
            *(f"{scores[k]:.2f}" for k in labels),
        ]
        for (start, end), scores in zip(prediction.seconds, prediction.scores, strict=True)
    ]
    headers = ["seconds", "above threshold" if several else "best", *(prediction.classes[k] for k in labels)]
    return {"headers": list(map(printable, headers)), "data": [list(map(printable, row)) for row in rows]}
