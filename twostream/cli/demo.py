"""`twostream demo`."""

from __future__ import annotations

import argparse
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
    parser = Parser("twostream demo", description=demo.__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder that training has left")
    parser.add_argument("second", type=Path, nargs="?", metavar="RUN_DIR", help="another one, shown beside the first")
    parser.add_argument("--video", type=Path, metavar="FILE", help="the video that the page shows at first")
    seconds, count = value_of("number > 0"), value_of("whole >= 1")
    parser.add_argument("--limit", type=seconds, default=30, metavar="SECONDS", help="looked at (default 30)")
    parser.add_argument("--max-upload", type=count, default=200, metavar="MB", help="of a file (default 200)")
    parser.add_argument("--top", type=count, default=5, help="so many classes (default 5)")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: other machines may open it (default 127.0.0.1)")
    port = value_of("whole >= 0, <= 65535")
    parser.add_argument("--port", type=port, default=7860, help="0: any that is free (default 7860)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the networks")
    add_trust(parser)
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens there. Raises ValueError if it cannot, as where another program does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        where = f"--host {host} --port {port}"
        raise ValueError(f"{where}: cannot be opened ({error.strerror}); --port 0 takes one that is free") from None
