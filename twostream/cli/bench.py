"""`twostream bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from twostream.cli.code import add_overrides, composed
from twostream.config.paths import check_paths
from twostream.files.errors import checked
from twostream.files.progress import begins
from twostream.options.arguments import Parser, new_file, value_of
from twostream.runs.results import write_json


def bench(arguments: Sequence[str]) -> None:
    """Measure where the time of training goes, on this machine and data, and say what would help."""
    parser = Parser("twostream bench", bench.__doc__, examples=("data=folder data.root=DIR backbone=resnet18",))
    add_overrides(parser)
    parser.add_argument("--seconds", type=value_of("number > 0"), default=60, help="measure for about so long")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers into this file, too")
    parser.add_argument("--chart", type=new_file, metavar="FILE", help="draw them into this PNG file")
    options = parser.parse_intermixed_args(arguments)
    with checked():
        check_paths(cfg := composed(options))
        begins("Loading PyTorch")
        from twostream.config.data import build_data, build_source, check_parts
        from twostream.config.network import describe_config, without_starts
        from twostream.config.run import build_bench_trainer, build_system
        from twostream.config.settle import settle_starts
        from twostream.config.taught import as_seen
        from twostream.training.bench import bench as run_bench
        from twostream.training.bench import save_chart, table

        check_parts(as_seen(cfg))
        cfg, source = settle_starts(cfg), build_source(cfg)  # data.cache=auto stays: what is kept costs nothing to load
        named = ("batch_size", "precision", "channels_last", "compile", "decoder", "layer")
        with TemporaryDirectory() as folder:
            result = run_bench(
                build_data(cfg, source),
                build_system(without_starts(cfg), source.classes),  # the values of the weights make no difference
                build_bench_trainer(cfg, Path(folder)),
                seconds=options.seconds,
                precision=cfg.precision,
                flops=describe_config(cfg, len(source.classes)).flops,
                configuration={"data": source.name, **{name: str(cfg[name]) for name in named}},
            )
    print(table(result))
    if options.json:
        write_json(options.json, result.as_dict())
    if options.chart:
        save_chart(result, options.chart)
