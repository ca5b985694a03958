"""`twostream demo`."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import socket
from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_trust
from twostream.config.saved import require_run
from twostream.files.errors import checked, say
from twostream.files.extras import missing_extra
from twostream.files.video_files import require_video
from twostream.options.arguments import Parser, value_of


@checked()
def demo(arguments: Sequence[str]) -> None:
    """Open a page for the browser in which one or two trained networks look at videos, on this machine alone."""
    options = read_options(arguments)
    runs = [run for run in (options.run, options.second) if run is not None]
    for run in runs:
        require_run(run)
    if options.video is not None:
        require_video(options.video)
    if importlib.util.find_spec("gradio") is None:
        raise missing_extra("twostream demo", "gradio", "demo")
    listener = listen(options.host, options.port)
    say(f"loading {' and '.join(map(str, runs))} …")
    from twostream.prediction.demo import Limits, serve
    from twostream.prediction.predictor import load

    shown = {str(run): load(run, device=options.device, trust=options.trust) for run in runs}
    limits = Limits(top=options.top, seconds=options.limit, megabytes=options.max_upload)
    serve(shown, listener, limits, video=options.video)


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads what the user typed."""
    parser = Parser("twostream demo", demo.__doc__, examples=("RUN_DIR", "RUN_DIR RUN_DIR --video VIDEO"))
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder that training has left")
    parser.add_argument("second", type=Path, nargs="?", metavar="RUN_DIR", help="another one, shown beside the first")
    parser.add_argument("--video", type=Path, metavar="FILE", help="the video that the page shows at first")
    seconds, count = value_of("number > 0"), value_of("whole >= 1")
    parser.add_argument("--limit", type=seconds, default=30, metavar="SECONDS", help="look at so much of a video")
    parser.add_argument(
        "--max-upload", type=count, default=200, metavar="MB", help="take files of so many megabytes at most"
    )
    parser.add_argument("--top", type=count, default=5, metavar="N", help="show so many classes")
    parser.add_argument(
        "--host", default="127.0.0.1", help="who may open the page; 127.0.0.1: this machine alone; 0.0.0.0: others, too"
    )
    port = value_of("whole >= 0, <= 65535")
    parser.add_argument("--port", type=port, default=7860, metavar="N", help="of the page; 0: any that is free")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes")
    add_trust(parser)
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens there. Raises ValueError if it cannot, as where another program does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # what follows repeats host and port
        other = "; --port 0 takes one that is free" if error.errno == errno.EADDRINUSE else ""
        raise ValueError(f"--host {host} --port {port}: cannot be opened ({why}){other}") from None
