"""`twostream flow`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_overrides, composed
from twostream.cli.engine import add_engine
from twostream.config.paths import check_videos
from twostream.data.tasks import available_cores
from twostream.files.errors import checked
from twostream.files.progress import begins
from twostream.options.arguments import Parser, existing, value_of
from twostream.options.choices import ENCODINGS, NAMINGS, QUALITY


def flow(arguments: Sequence[str]) -> None:
    """Compute the flow of a data set once, into a store that training reads with flow.store=PATH."""
    parser = Parser("twostream flow", flow.__doc__, examples=("data=ucf101 data.root=DIR flow=tvl1 --store DIR",))
    add_overrides(parser)
    parser.add_argument(
        "--store",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder of the store; one that is not complete is continued",
    )
    parser.add_argument(
        "--encoding",
        choices=ENCODINGS,
        default="jpeg",
        help="of the fields; jpeg: nearly exact; png: no loss; small: H.264",
    )
    quality = value_of("whole >= 1, <= 100")
    parser.add_argument("--quality", type=quality, metavar="N", default=QUALITY, help="of --encoding jpeg, 1 to 100")
    parser.add_argument(
        "--from-jpegs",
        type=existing,
        metavar="DIR",
        help="import JPEGs that another tool wrote, with displacements up to flow.bound",
    )
    parser.add_argument("--naming", choices=NAMINGS, default="denseflow", help="the tool that wrote them")
    add_engine(parser)
    parser.set_defaults(workers=None)
    options = parser.parse_intermixed_args(arguments)
    with checked():
        check_videos(cfg := composed(options))
        begins("Loading PyTorch")
        from twostream.config.data import build_flow, build_source, check_vectors
        from twostream.data.storage.extract import extract
        from twostream.data.storage.flow_store import FromJPEGs, FromVideo, make_store

        source = build_source(cfg)
        algorithm = build_flow(cfg)
        if algorithm.from_video and options.from_jpegs is None:
            check_vectors(cfg, source)
        recorder = FromVideo(algorithm, cfg.decoder)
        if options.from_jpegs is not None:
            recorder = FromJPEGs(options.from_jpegs, options.naming, algorithm, cfg.decoder)
        origin = None if options.from_jpegs is None else options.naming
        make_store(options.store, algorithm, encoding=options.encoding, quality=options.quality, origin=origin)
    complete = extract(
        source.videos,
        algorithm,
        options.store,
        decoder=cfg.decoder,
        workers=options.workers or (1 if getattr(recorder, "on_gpu", False) else available_cores()),
        engine=options.engine,
        address=options.address,
        recorder=recorder,
    )
    if not complete:
        sys.exit(1)
