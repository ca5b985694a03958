"""Loads published or stored weights into a backbone, and reports what was loaded and what was not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

import torch
from torch import Tensor

from twostream.files.atomic import atomic_file
from twostream.files.errors import first_line
from twostream.files.progress import watch_bytes
from twostream.files.weights import require_weights
from twostream.files.words import counted
from twostream.models.backbone.base import Backbone
from twostream.runs.checkpoint import load_plain

PUBLISHED = ("imagenet", "kinetics")  # data sets that published weights are named by
KINDS = ("loaded", "adapted", "random", "absent", "mismatched")
CONNECT_SECONDS = 30.0  # after which a server counts as unreachable; the system's default takes minutes
BLOCK = 1 << 20  # bytes read of a download at a time

log = logging.getLogger(__name__)
BackboneT = TypeVar("BackboneT", bound=Backbone)


@dataclass(frozen=True)
class WeightsReport:
    """The names of a backbone's tensors that were loaded, adapted or set at random.

    `unused` are names of tensors in the file at `origin` that were not loaded. `numbers` counts the values in each of
    loaded, adapted, random.
    """

    backbone: str
    origin: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    random: tuple[str, ...]
    unused: tuple[str, ...]
    numbers: Mapping[str, int]
    published: str = ""  # the name of the weights, if they were downloaded
    adapted_by: str = "averaged"  # over R, G, B; or summed, as a grey stream has them

    @property
    def start(self) -> str:
        """The weights that training starts from, in a few words."""
        name = f"{self.published} ({self.origin.rsplit('/', 1)[-1]})" if self.published else self.origin
        adapted = f", first layer {self.adapted_by} over colours" if self.adapted else ""
        return name + adapted + (f"; random: {' '.join(self.lacking)}" if self.lacking else "")

    @property
    def lacking(self) -> tuple[str, ...]:
        """The stages that have random values, without the classifier, which is random for new classes."""
        stages = dict.fromkeys(name.split(".")[1] for name in self.random)
        return tuple(stage for stage in stages if stage != "fc8")

    @property
    def summary(self) -> str:
        """One line with the numbers of tensors and values, and the stages of those that were adapted or random."""
        parts = []
        for kind in ("loaded", "adapted", "random"):
            names = getattr(self, kind)
            stages = dict.fromkeys(name.split(".")[1] for name in names) if kind != "loaded" else {}
            where = f", {' '.join(stages)}" if stages else ""
            parts.append(f"{counted(len(names), 'tensor')} {kind} ({self.numbers[kind]:,} values{where})")
        return f"{self.backbone} <- {self.origin}: {', '.join(parts)}"


def realise(backbone: BackboneT, weights: str | None, *, cross_modality: bool = True) -> BackboneT:
    """Gives a backbone that was built on the meta device its memory and values: `weights`, and else random ones.

    Under `torch.device("meta")` the backbone stays there, and nothing is read or downloaded. Raises ValueError like
    `load_weights`.
    """
    if weights is not None:
        check_weights(backbone, weights)
    device = torch.empty(0).device
    if device.type == "meta":
        return backbone
    backbone.to_empty(device=device)
    if weights is None:
        backbone.initialise()
        return backbone
    found, origin = read_weights(backbone, weights)
    values, report = match(backbone, found, origin=origin, prefix=None, cross_modality=cross_modality)
    backbone.report = report
    backbone.initialise(only=report.random)  # before copying, since a layer may get only some of its tensors
    copy(backbone, values, report)
    return backbone


def start(backbone: BackboneT, weights: str | None, *, cross_modality: bool = True) -> BackboneT:
    """Loads `weights` into a backbone that has values already; its classifier begins anew if it is not loaded.

    On the meta device nothing is read or downloaded. Raises ValueError like `load_weights`.
    """
    if weights is not None:
        check_weights(backbone, weights)
        if not backbone.first[1].weight.is_meta:
            load_weights(backbone, weights, cross_modality=cross_modality)
    fresh = backbone.state_dict() if backbone.report is None else backbone.report.random
    classifier = next(name for name, part in backbone.named_modules() if part is backbone.classifier)
    backbone.initialise(only=[name for name in fresh if name.rpartition(".")[0] == classifier])
    return backbone


def check_weights(backbone: Backbone, weights: str | Path) -> None:
    """Raises ValueError unless `weights` is a published name or the path of a file. Downloads nothing."""
    names = ("imagenet",) if backbone.fetches_itself else tuple(backbone.urls)
    if str(weights) in PUBLISHED and str(weights) not in names and not Path(weights).is_file():
        others = "".join(f"choose backbone.weights={name}, " for name in names[:1])
        raise ValueError(
            f"weights={str(weights)!r}: there are none for {backbone.name} to download; {others}give the path of a "
            "file of converted weights (backbone.weights=PATH), or weights=null to start from random values"
        )
    require_weights(weights, names)


def load_weights(
    backbone: Backbone,
    weights: str | Path | Mapping[str, Tensor],
    *,
    prefix: str | None = None,
    cross_modality: bool = True,
    origin: str = "given tensors",
) -> WeightsReport:
    """Copies weights into `backbone`, in place. Tensors without weights keep their values and are reported as random.

    `weights` is a name in `backbone.urls`, a file, or tensors by name. The names are those of the published network or
    of the backbone itself. `prefix` comes before these names, such as "network.rgb.backbone." in a checkpoint; None:
    it is found if the file has a single backbone, or a single one that reads as many channels as this one.

    `cross_modality`: filters for RGB are averaged over R, G, B and repeated for the input channels here, without
    rescaling (Wang et al. 2016). Otherwise the first convolution is random if its channels differ. `origin` is the name
    of given tensors in the report.

    A classifier of other classes, and fully connected stages that the file lacks, are random. Raises ValueError if
    anything else is missing or of another shape, if tensors of convolutions are left over, and if the file cannot be
    downloaded or read, or contains anything but plain tensors.
    """
    if isinstance(weights, Mapping):
        found = dict(weights)
    else:
        found, origin = read_weights(backbone, weights)
    values, report = match(backbone, found, origin=origin, prefix=prefix, cross_modality=cross_modality)
    return copy(backbone, values, report)


def downloaded(url: str) -> Path:
    """Returns the path at which torch.hub keeps the file of `url`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def match(
    backbone: Backbone, found: dict[str, Tensor], *, origin: str, prefix: str | None, cross_modality: bool
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Returns ({name of a tensor of `backbone`: value}, report). Raises ValueError like `load_weights`."""
    found, origin = _without_prefix(backbone, found, prefix, origin)
    own = backbone.state_dict()
    fits = {name: _fit(backbone, name, tensor, found, cross_modality) for name, tensor in own.items()}
    kinds = {kind: tuple(name for name in own if fits[name].kind == kind) for kind in KINDS}
    # a first layer that is random on request does not count as unused; a classifier of other classes does
    used = {fit.source for name, fit in fits.items() if fit.value is not None or not backbone.is_of_classes(name)}
    unused = tuple(key for key in found if key not in used)
    mismatched = [
        f"{fit.source} {tuple(found[fit.source].shape)}, here {tuple(own[name].shape)}"
        for name, fit in fits.items()
        if fit.kind == "mismatched"
    ]
    _check_fit(backbone, list(kinds["absent"]), mismatched, unused, origin=origin, found=found)
    kinds["random"] += kinds["absent"]
    report = WeightsReport(
        backbone.name,
        origin,
        loaded=kinds["loaded"],
        adapted=kinds["adapted"],
        random=kinds["random"],
        unused=unused,
        numbers={kind: sum(own[name].numel() for name in kinds[kind]) for kind in ("loaded", "adapted", "random")},
        published=next((name for name, url in backbone.urls.items() if url == origin), ""),
    )
    return {name: fit.value for name, fit in fits.items() if fit.value is not None}, report


class _Fit(NamedTuple):
    """How a tensor of the backbone is set: one of KINDS, its name in the file, and the value to copy or None."""

    kind: str
    source: str
    value: Tensor | None = None


def _fit(backbone: Backbone, name: str, tensor: Tensor, found: Mapping[str, Tensor], cross_modality: bool) -> _Fit:
    source = name if name in found else backbone.source_names.get(name, name)
    if source not in found:
        is_counter = name.endswith("num_batches_tracked")  # which old files lack
        return _Fit("loaded", source, torch.zeros_like(tensor)) if is_counter else _Fit("absent", source)
    given = repeated_over_time(found[source], tensor.shape)
    value = _as_shape(given, tensor)
    if value is not None:
        return _Fit("loaded", source, value)
    reads_image = tensor.shape[1:2] == (backbone.first[1].in_channels,)
    if reads_image and name.startswith(f"stages.{next(iter(backbone.stages))}."):
        colours = average_over_colours(given, tensor.shape)
        if colours is not None:
            return _Fit("adapted", source, colours) if cross_modality else _Fit("random", source)
    return _Fit("random" if backbone.is_of_classes(name) else "mismatched", source)


def copy(backbone: Backbone, values: Mapping[str, Tensor], report: WeightsReport) -> WeightsReport:
    """Copies the values into the backbone, in place, and logs the report's summary."""
    own = backbone.state_dict()
    for name, value in values.items():
        own[name].copy_(value)  # tensors of a state dict are detached, so this needs no no_grad
    backbone.report = report
    log.info(report.summary)
    return report


def average_over_colours(weight: Tensor, shape: torch.Size) -> Tensor | None:
    """Averages filters (d, 3, *k) over colours and repeats them to `shape` (d, c, *k); None for other shapes."""
    if weight.ndim < 4 or weight.shape[1] != 3 or (*weight.shape[:1], *weight.shape[2:]) != (*shape[:1], *shape[2:]):
        return None
    return weight.mean(dim=1, keepdim=True).expand(shape)


def repeated_over_time(weight: Tensor, shape: torch.Size) -> Tensor:
    """Returns filters (d, c, k, k) as (d, c, r, k, k) with their sum over r, if `shape` is such; others unchanged."""
    if (weight.ndim, len(shape)) != (4, 5):
        return weight
    return weight.unsqueeze(2).expand(-1, -1, shape[2], -1, -1) / shape[2]


def read_weights(backbone: Backbone, weights: str | Path) -> tuple[dict[str, Tensor], str]:
    """Returns ({name: tensor}, origin) of a file or a published name, which is downloaded unless torch.hub has it.

    Raises ValueError, with the URL, the path and advice, if this fails.
    """
    check_weights(backbone, weights)
    path, origin = Path(weights), str(weights)
    if origin in backbone.urls:
        origin = backbone.urls[origin]
        path = downloaded(origin)
        if not path.is_file():
            download(origin, path, name=str(weights))
    try:
        contents = _read_file(path)
    except Exception as error:  # a file of another kind may raise any exception
        told = "; docs/reproduce.md converts one of MatConvNet" if path.suffix == ".mat" else f": {first_line(error)}"
        raise ValueError(f"weights={str(path)!r}: not a file of plain tensors made by torch.save{told}") from error
    if isinstance(contents, Mapping) and isinstance(contents.get("state_dict"), Mapping):
        contents = contents["state_dict"]  # a Lightning checkpoint, and many others
    tensors = {str(key): value for key, value in _items(contents) if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"weights={str(path)!r}: holds no named tensors (a state dict was expected)")
    return tensors, origin


def download(url: str, path: Path, *, name: str) -> None:
    """Downloads `url` to `path` and checks its hash. Raises ValueError with the URL and the path if this fails."""
    by_hand = (
        f"download {url} by other means and put it at {path}, or give backbone.weights=PATH, "
        "or weights=null to start from random values"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as aside:
            digest = _fetch(url, aside, shown=path.name)
            matched = torch.hub.HASH_REGEX.search(path.name)
            if matched and not digest.startswith(matched.group(1)):
                raise ValueError(
                    f"weights={name!r}: {url} is not the file that it should be (sha256 {digest}); {by_hand}"
                )
    except (URLError, OSError, HTTPException) as error:
        raise ValueError(f"weights={name!r}: cannot download ({error}); {by_hand}") from error


def _fetch(url: str, path: Path, *, shown: str) -> str:
    """Writes what is at `url` to `path`, and shows how much of it is there; returns its SHA-256."""
    digest, done = hashlib.sha256(), 0
    with urlopen(url, timeout=CONNECT_SECONDS) as answer, path.open("wb") as file, watch_bytes() as tell:
        size = answer.headers.get("Content-Length")
        while block := answer.read(BLOCK):
            file.write(block)
            digest.update(block)
            done += len(block)
            tell(shown, done, int(size) if size else None)
    if size and done != int(size):
        raise OSError(f"the connection ended after {done} of {size} bytes")
    return digest.hexdigest()


def _read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # installed with timm, whose weights are such files

        return load_file(path)
    return load_plain(path)


def _items(contents: Any) -> Iterator[tuple[Any, Any]]:
    return iter(contents.items() if isinstance(contents, Mapping) else ())


def _without_prefix(
    backbone: Backbone, found: dict[str, Tensor], prefix: str | None, origin: str
) -> tuple[dict[str, Tensor], str]:
    """Returns the tensors whose names start with `prefix`, by their names without it, and the origin with `prefix`."""
    name, convolution = backbone.first
    if prefix is None:
        firsts = {key.removesuffix(f"{name}.weight"): key for key in found if key.endswith(f"{name}.weight")}
        channels = {start: found[key].shape[1] for start, key in firsts.items()}
        if not channels:
            return found, origin  # the names are not those of a backbone of ours
        fitting = [key for key, count in channels.items() if count == convolution.in_channels]
        choices = list(channels) if len(channels) == 1 else fitting
        if len(choices) != 1:
            names = ", ".join(map(repr, channels))
            raise ValueError(f"weights: {origin} holds several networks; choose one with prefix= out of {names}")
        prefix = choices[0]
    kept = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    if not kept:
        some = ", ".join(list(found)[:3])
        raise ValueError(f"prefix={prefix!r}: no name in {origin} starts with it; the first are {some}")
    return kept, f"{origin} ({prefix}*)" if prefix else origin


def _as_shape(value: Tensor, like: Tensor) -> Tensor | None:
    """Returns `value` if it has the shape of `like`, or a matrix (d, c*k*k) as a filter (d, c, k, k), or else None.

    A filter (d, c, 1, 1, 1) is a matrix, too.
    """
    if value.shape == like.shape:
        return value
    is_matrix = value.ndim > 1 and value.shape[2:].numel() == 1
    fits = is_matrix and like.ndim == 4 and value.shape[:2] == (like.shape[0], like[0].numel())
    return value.reshape(like.shape) if fits else None


def _check_fit(
    backbone: Backbone,
    absent: list[str],
    mismatched: list[str],
    unused: tuple[str, ...],
    *,
    origin: str,
    found: Mapping[str, Tensor],
) -> None:
    """Raises ValueError unless the tensors that were found are those of this network."""
    start = f"weights: {origin} does not fit {backbone.name}"
    if mismatched:
        raise ValueError(f"{start}: {len(mismatched)} tensors of another shape, the first {'; '.join(mismatched[:3])}")
    sizes = {name: tensor.numel() for name, tensor in backbone.state_dict().items() if backbone.is_feature(name)}
    missing = [name for name in absent if name in sizes]
    if missing:
        share = 1 - sum(sizes[name] for name in missing) / sum(sizes.values())
        names = ", ".join(backbone.source_names.get(name, name) for name in missing[:3])
        raise ValueError(
            f"{start}: it has {share:.0%} of the values of the convolutional stages; {len(missing)} tensors are "
            f"missing, the first {names}; the file's own begin with {', '.join(list(found)[:3])}"
        )
    roots = {"stages", *(backbone.source_names.get(name, name).split(".")[0] for name in sizes)}
    left = [key for key in unused if key.split(".")[0] in roots and not key.startswith("stages.fc")]
    if left and not backbone.has_spare_layers:
        raise ValueError(
            f"{start}: it has {len(left)} more tensors among the convolutional stages, the first "
            f"{', '.join(left[:3])}; it belongs to another network"
        )
