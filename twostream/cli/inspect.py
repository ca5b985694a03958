"""`twostream inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_stream, add_trust
from twostream.config.saved import require_run
from twostream.files.errors import checked
from twostream.files.progress import begins
from twostream.files.video_files import require_video
from twostream.options.arguments import Parser


@checked()
def inspect(arguments: Sequence[str]) -> None:
    """Draw what a trained network looks for, and with a video where it looks, into RUN_DIR/inspection."""
    parser = Parser("twostream inspect", inspect.__doc__, examples=("RUN_DIR", "RUN_DIR VIDEO"))
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder that training has left")
    parser.add_argument(
        "video",
        nargs="?",
        metavar="VIDEO",
        help="also draw where the network looks (Grad-CAM), in the middle of this video",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to draw into (default: RUN_DIR/inspection)")
    add_stream(parser)
    parser.add_argument("--wandb", action="store_true", help="also show the pictures in a W&B run")
    add_trust(parser)
    options = parser.parse_args(arguments)
    require_run(options.run)
    if options.video is not None:
        require_video(options.video)
    begins("Loading PyTorch and the network")
    from twostream.cli.work.inspect import inspect as draw

    draw(
        options.run,
        video=options.video,
        streams=options.streams,
        out=options.out,
        wandb=options.wandb,
        trust=options.trust,
    )
