"""`twostream export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_trust
from twostream.config.saved import require_run
from twostream.export.hub import check_push, push_folder
from twostream.files.errors import checked, say
from twostream.files.progress import begins
from twostream.files.video_files import require_video
from twostream.options.arguments import Parser
from twostream.options.choices import FORMATS


def export(arguments: Sequence[str]) -> None:
    """Write the network of a run as one file for use elsewhere, with its preprocessing and a model card beside it."""
    parser = Parser("twostream export", export.__doc__, examples=("RUN_DIR --format onnx", "RUN_DIR --push OWNER/NAME"))
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder that training has left")
    parser.add_argument(
        "--format", choices=FORMATS, help="of the file; with --push also safetensors, which is its default"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder to write into (default: RUN_DIR/export)")
    parser.add_argument(
        "--video", type=Path, nargs="+", default=[], help="compare the file with the network on these videos, too"
    )
    parser.add_argument("--push", metavar="OWNER/NAME", help="send the folder to the Hugging Face Hub")
    parser.add_argument("--private", action="store_true", help="with --push: a repository that only you see")
    add_trust(parser)
    options = parser.parse_args(arguments)
    if options.format is None and options.push is None:
        parser.error(f"--format: choose from {', '.join(FORMATS)}")
    with checked():
        if options.push is not None:
            check_push(options.push, options.format)
        require_run(options.run)
        for video in options.video:
            require_video(video)
        begins("Loading PyTorch and the network")
        from twostream.export.run import export_run

        forms = [options.format] if options.format else []
        if options.push is not None and "safetensors" not in forms:
            forms.append("safetensors")
        to = options.run
        for form in forms:
            to = export_run(
                options.run,
                form,
                to=options.to,
                videos=options.video,
                repo=options.push,
                trust=options.trust,
                say=say,
            )
        if options.push is not None:
            print(push_folder(to, options.push, private=options.private))
