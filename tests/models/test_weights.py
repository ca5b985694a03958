"""What is loaded, what is adapted, what stays random; and every way in which it can go wrong."""

from __future__ import annotations

import hashlib
import logging
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twostream.models.backbone import (
    Backbone,
    load_weights,
    mc3_18,
    r2plus1d_18,
    r3d_18,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    s3d,
    squeezenet1_0,
    timm,
    tiny,
    vgg16,
    vgg16_bn,
    vgg_m,
)
from twostream.models.backbone.weights import match

TORCHVISION = {
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "squeezenet1_0": squeezenet1_0,
    "r3d_18": r3d_18,
    "mc3_18": mc3_18,
    "r2plus1d_18": r2plus1d_18,
    "s3d": s3d,
}


def on_meta(make: Any, in_channels: int = 3, num_classes: int = 101) -> Backbone:
    with torch.device("meta"):
        return make(in_channels, num_classes)


def published(name: str) -> nn.Module:
    """torchvision's network for 1,000 classes, as shapes."""
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        return models.get_model(name, num_classes=1000)


def matched(backbone: Backbone, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
    return match(backbone, tensors, origin="the test", prefix=None, cross_modality=True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloaded files, empty; no proxy between this process and itself."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


# The published layouts


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_published_tensor_has_its_place(name: str) -> None:
    theirs = published(name).state_dict()
    ours = on_meta(TORCHVISION[name], num_classes=1000)
    assert ours.name == name
    assert set(ours.source_names) == set(ours.state_dict())
    assert sorted(ours.source_names.values()) == sorted(theirs)
    _, report = matched(ours, theirs)
    assert (len(report.loaded), report.adapted, report.random, report.unused) == (len(theirs), (), (), ())


@pytest.mark.parametrize("name", TORCHVISION)
def test_other_classes_and_channels(name: str) -> None:
    theirs = published(name).state_dict()
    ours = on_meta(TORCHVISION[name], 20, 101)
    _, report = matched(ours, theirs)
    assert report.adapted == (f"{ours.first[0]}.weight",)
    assert {name.split(".")[1] for name in report.random} == {"fc8"}
    assert len(report.random) == len(report.unused) == 2
    assert len(report.loaded) == len(theirs) - 3


def test_caffe_layout_of_vgg_m() -> None:
    filters = {
        "conv1": (96, 3, 7, 7),
        "conv2": (256, 96, 5, 5),
        "conv3": (512, 256, 3, 3),
        "conv4": (512, 512, 3, 3),
        "conv5": (512, 512, 3, 3),
        "fc6": (4096, 18432),
        "fc7": (2048, 4096),
        "fc8": (1000, 2048),
    }
    tensors = {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in filters.items()}
    tensors |= {f"{name}.bias": torch.empty(shape[0], device="meta") for name, shape in filters.items()}
    values, report = matched(on_meta(vgg_m, 20), tensors)
    assert report.numbers == {"loaded": 90_707_781 - 94_080 - 206_949, "adapted": 94_080, "random": 206_949}
    assert values["stages.fc6.1.weight"].shape == (4096, 512, 6, 6)
    tensors["fc7.weight"] = torch.empty(4096, 4096, device="meta")  # VGG-M-4096 is another network
    with pytest.raises(ValueError, match=r"fit vgg_m: 1 tensors of another shape, .*fc7.weight \(4096, 4096\)"):
        matched(on_meta(vgg_m), tensors)


def test_a_matrix_becomes_a_filter_in_the_order_channel_row_column() -> None:
    stages = {"conv5": nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), "fc8": nn.Sequential(nn.Conv2d(2, 5, (3, 4)))}
    layers = nn.ModuleDict({"conv": stages["conv5"][0], "fc": stages["fc8"][0]})
    sizes = {"conv5": 2, "fc8": 5}
    backbone = Backbone("small", stages, channels=sizes, strides=sizes, source=layers)
    matrix = torch.arange(5 * 24.0).view(5, 24)
    state = layers.state_dict() | {"fc.weight": matrix}
    load_weights(backbone, state)
    assert backbone.classifier.weight[3, 1, 2, 3] == matrix[3, 1 * 12 + 2 * 4 + 3]


def test_real_weights_of_squeezenet(real_data: Path) -> None:
    path = real_data / "weights" / "squeezenet1_0_from_deep_compression.pth"
    rgb = squeezenet1_0(3, 101, weights=str(path))
    flow = squeezenet1_0(20, 101, weights=str(path))
    head = ("stages.fc8.1.weight", "stages.fc8.1.bias")
    assert rgb.report is not None
    assert flow.report is not None
    assert (rgb.report.adapted, rgb.report.random, len(rgb.report.loaded)) == ((), head, 50)
    assert (flow.report.adapted, flow.report.random, len(flow.report.loaded)) == (
        ("stages.conv1.0.weight",),
        head,
        49,
    )
    assert rgb.report.numbers == {"loaded": 735_424, "adapted": 0, "random": 101 * 513}
    filters = torch.load(path, weights_only=True)["features.0.weight"]
    assert torch.equal(rgb.first[1].weight, filters)
    torch.testing.assert_close(flow.first[1].weight[:, 17], filters.mean(1))
    assert not rgb.classifier.weight.any()  # features of this scale would make any other start a bad one


# Cross-modality


def test_filters_for_flow_are_the_mean_of_those_for_rgb() -> None:
    donor = tiny(3, 4)
    with torch.no_grad():
        donor.first[1].weight.copy_(torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1).expand(16, 3, 5, 5))
    flow = tiny(20, 4)
    report = load_weights(flow, donor.state_dict())
    assert report.adapted == ("stages.conv1.0.weight",)
    assert report.numbers["adapted"] == 16 * 20 * 25
    assert flow.first[1].weight.eq(3).all()  # (1 + 2 + 6) / 3 in each of the 20 channels, not rescaled
    assert flow.first[1].weight.shape == (16, 20, 5, 5)


def test_cross_modality_can_be_switched_off(tmp_path: Path) -> None:
    torch.save(tiny(3, 4).state_dict(), tmp_path / "rgb.pth")
    torch.manual_seed(0)
    flow = tiny(20, 4, weights=str(tmp_path / "rgb.pth"), cross_modality=False)
    assert flow.report is not None
    assert flow.report.random == ("stages.conv1.0.weight",)
    assert flow.first[1].weight.std().item() == pytest.approx((2 / (20 * 25)) ** 0.5, rel=0.05)


def test_filters_for_other_flow_are_not_averaged() -> None:
    with pytest.raises(ValueError, match=r"stages.conv1.0.weight \(16, 10, 5, 5\), here \(16, 20, 5, 5\)"):
        load_weights(tiny(20, 4), tiny(10, 4).state_dict())


# Our own files


def test_round_trip_and_checkpoint_prefixes(tmp_path: Path) -> None:
    donors = {"rgb": tiny(3, 7), "flow": tiny(20, 7)}
    checkpoint = {
        f"network.{stream}.backbone.{name}": tensor
        for stream, donor in donors.items()
        for name, tensor in donor.state_dict().items()
    }
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": checkpoint | {"network.fusions.conv5.bias": torch.zeros(1)}}, path)
    for stream, donor in donors.items():  # found by the channels that it reads
        copy = tiny(donor.first[1].in_channels, 7, weights=str(path))
        assert copy.report is not None
        assert (copy.report.adapted, copy.report.random) == ((), ())
        assert f"(network.{stream}.backbone.*)" in copy.report.origin
        assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), donor.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"choose one with prefix= out of 'network.rgb.backbone.', 'n"):
        load_weights(tiny(4, 7), path)
    report = load_weights(tiny(4, 7), path, prefix="network.rgb.backbone.")
    assert report.adapted == ("stages.conv1.0.weight",)
    with pytest.raises(ValueError, match=r"prefix='net.': no name in .*last.ckpt starts with it; .* network"):
        load_weights(tiny(4, 7), path, prefix="net.")


def test_old_files_without_counters_keep_their_batch_norm(tmp_path: Path) -> None:
    donor = tiny(3, 7)
    donor(torch.randn(4, 3, 64, 64))  # so that the statistics are not the initial ones
    state = {name: value for name, value in donor.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    copy = tiny(3, 7, weights=str(tmp_path / "old.pth"))
    assert copy.report is not None
    assert copy.report.random == ()
    norm, expected = copy.stages["conv2"][1], donor.stages["conv2"][1]
    assert torch.equal(norm.running_mean, expected.running_mean)
    assert norm.num_batches_tracked.item() == 0


def test_fully_connected_stages_may_be_missing() -> None:
    theirs = {name: value for name, value in published("vgg16").state_dict().items() if "features" in name}
    _, report = matched(on_meta(vgg16), theirs)
    assert {name.split(".")[1] for name in report.random} == {"fc6", "fc7", "fc8"}
    assert report.summary.startswith("vgg16 <- the test: 26 tensors loaded (14,714,688 values), 0 tensors adapted")
    assert report.summary.endswith("6 tensors random (119,959,653 values, fc6 fc7 fc8)")


def test_another_head_is_random() -> None:
    theirs = published("resnet18").state_dict()
    backbone = on_meta(resnet18, num_classes=1000)
    backbone.replace_head(nn.Flatten(), 512, 1000)  # the same shape, but another layer
    _, report = matched(backbone, theirs)
    assert report.random == ("stages.fc8.3.weight", "stages.fc8.3.bias")


# Files that do not fit


def test_weights_of_another_network() -> None:
    with pytest.raises(ValueError, match=r"does not fit resnet34: it has 53% of .* missing, the first layer1.2.conv1"):
        matched(on_meta(resnet34), published("resnet18").state_dict())
    with pytest.raises(ValueError, match=r"fit resnet18: it has \d+ more tensors .* layer1.2.* another network"):
        matched(on_meta(resnet18), published("resnet34").state_dict())
    with pytest.raises(ValueError, match=r"fit resnet50: .* tensors of another shape, the first layer1.0.conv1"):
        matched(on_meta(resnet50), published("resnet18").state_dict())
    with pytest.raises(ValueError, match=r"vgg16: it has 0% .* first features.0.weight.*begin with conv1.weight"):
        matched(on_meta(vgg16), published("resnet18").state_dict())


class Malicious:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    proof, path = tmp_path / "executed", tmp_path / "malicious.pth"
    torch.save({"stages.conv1.0.weight": Malicious(proof)}, path)
    with pytest.raises(ValueError, match=r"malicious.pth': not a file of plain tensors"):
        tiny(3, 4, weights=str(path))
    path.write_bytes(pickle.dumps(Malicious(proof), protocol=2))
    with pytest.raises(ValueError, match=r"malicious.pth': not a file of plain tensors"):
        tiny(3, 4, weights=str(path))
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists()  # a plain unpickler does execute it


def test_a_file_of_matconvnet(tmp_path: Path) -> None:
    (tmp_path / "vgg.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ValueError, match=r"vgg.mat': not a file .*torch.save; docs/reproduce.md converts one of Mat"):
        tiny(3, 4, weights=str(tmp_path / "vgg.mat"))


@pytest.mark.parametrize("contents", [b"", b"version https://git-lfs", b"<!doctype html>", b"PK\x03\x04" + bytes(99)])
def test_a_file_of_something_else(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"weights.pth': not a file of plain tensors made by torch.save: \S"):
        tiny(3, 4, weights=str(path))


def test_a_file_without_names(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth': holds no named tensors \(a state dict was expected\)"):
        tiny(3, 4, weights=str(tmp_path / "list.pth"))


@pytest.mark.parametrize(
    ("make", "weights", "message"),
    [
        (vgg_m, "imagenet", "weights='imagenet': there are none for vgg_m to download; give the path"),
        (tiny, "imagenet", "weights='imagenet': there are none for tiny to download"),
        (
            resnet50,
            "imagnet",
            r"weights='imagnet': no such file; did you mean imagenet\? choose from imagenet, imagenet_v2, null, ",
        ),
        (tiny, "a/b.pth", "weights='a/b.pth': no such file; choose from null, the path of a file"),
    ],
)
def test_unknown_weights_are_refused_even_on_the_meta_device(make: Any, weights: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on_meta(partial(make, weights=weights))


def test_nothing_is_read_on_the_meta_device(tmp_path: Path, hub: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"")
    assert on_meta(partial(tiny, weights=str(tmp_path / "broken.pth"))).report is None
    assert on_meta(partial(resnet18, weights="imagenet")).report is None
    assert not hub.exists()


# Downloads


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on this machine: its URL, its folder, and the paths that were asked for."""
    folder, requests = tmp_path / "www", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}", folder, requests
        http.shutdown()
        thread.join()


def write_published(folder: Path, donor: Backbone) -> str:
    """A file named as torchvision's are, with the start of its hash; returns the name."""
    path = folder / "tiny.pth"
    torch.save(donor.state_dict(), path)
    name = f"tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(folder / name)
    return name


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_download_once(scheme: str, server: tuple[str, Path, list[str]], hub: Path) -> None:
    url, folder, requests = server
    donor, copy = tiny(3, 7), tiny(3, 7)
    name = write_published(folder, donor)
    copy.urls = {"imagenet": f"{url}/{name}" if scheme == "http" else (folder / name).as_uri()}
    for _ in range(2):
        report = load_weights(copy, "imagenet")
    assert report.random == ()
    assert report.origin == copy.urls["imagenet"]
    assert torch.equal(copy.first[1].weight, donor.first[1].weight)
    assert (hub / name).is_file()
    assert requests == ([f"/{name}"] if scheme == "http" else [])


def test_a_damaged_download(server: tuple[str, Path, list[str]], hub: Path) -> None:
    url, folder, _ = server
    name = write_published(folder, tiny(3, 7))
    with (folder / name).open("ab") as file:
        file.write(b"!")
    backbone = tiny(3, 7)
    backbone.urls = {"imagenet": f"{url}/{name}"}
    with pytest.raises(ValueError, match=rf"{name} is not the file that .*download .*{name} by other means"):
        load_weights(backbone, "imagenet")
    assert not (hub / name).exists()


@pytest.mark.parametrize(("path", "reason"), [("/absent-0123abcd.pth", "404"), (":1/absent-0123abcd.pth", "refused")])
def test_no_network_and_no_file(path: str, reason: str, server: tuple[str, Path, list[str]], hub: Path) -> None:
    base = server[0] if reason == "404" else "http://127.0.0.1"
    backbone = tiny(3, 7)
    before = backbone.first[1].weight.clone()
    backbone.urls = {"imagenet": base + path}
    with pytest.raises(ValueError, match=reason) as caught:
        load_weights(backbone, "imagenet")
    message = str(caught.value)
    assert message.startswith("weights='imagenet': cannot download")
    assert base + path in message
    assert str(hub / "absent-0123abcd.pth") in message
    assert torch.equal(backbone.first[1].weight, before)
    hub.mkdir(parents=True, exist_ok=True)
    torch.save(tiny(3, 7).state_dict(), hub / "absent-0123abcd.pth")  # where the message says
    assert load_weights(backbone, "imagenet").random == ()


def test_the_names_of_published_weights() -> None:
    pytest.importorskip("torchvision")
    assert on_meta(resnet50).urls == {
        "imagenet": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "imagenet_v2": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    }
    assert on_meta(vgg16).urls == {"imagenet": "https://download.pytorch.org/models/vgg16-397923af.pth"}


# timm


def test_timm_file(tmp_path: Path) -> None:
    library = pytest.importorskip("timm")
    full = library.create_model("resnet10t")
    torch.save(full.state_dict(), tmp_path / "full.pth")
    copy = timm(20, 7, name="resnet10t", weights=str(tmp_path / "full.pth"))
    assert copy.report is not None
    assert copy.report.adapted == ("stages.conv1.0.0.weight",)
    assert copy.report.random == ("stages.fc8.2.weight", "stages.fc8.2.bias")
    assert copy.report.unused == ("fc.weight", "fc.bias")
    theirs = full.state_dict()
    assert torch.equal(copy.state_dict()["stages.conv5.0.0.conv1.weight"], theirs["layer4.0.conv1.weight"])
    torch.testing.assert_close(copy.first[1].weight[:, 19], theirs["conv1.0.weight"].mean(1))
    safe = pytest.importorskip("safetensors.torch")
    safe.save_file(theirs, tmp_path / "full.safetensors")
    again = timm(3, 7, name="resnet10t", weights=str(tmp_path / "full.safetensors"))
    assert torch.equal(again.first[1].weight, theirs["conv1.0.weight"])


def test_timm_pretrained(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    library = pytest.importorskip("timm")
    create, made = library.create_model, []

    def pretend(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
        made.append(create(name, pretrained=False, **options))
        return made[-1]

    monkeypatch.setattr(library, "create_model", pretend)
    copy = timm(20, 7, name="resnet10t", weights="imagenet")
    donor = made[1].state_dict()
    torch.testing.assert_close(copy.first[1].weight[:, 0], donor["conv1.0.weight"].mean(1))
    assert torch.equal(copy.state_dict()["stages.conv5.0.0.conv1.weight"], donor["layer4.0.conv1.weight"])

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s")
            raise OSError("no route to host\nand more")
        return create(name, **options)

    monkeypatch.setattr(library, "create_model", offline)
    with pytest.raises(
        ValueError, match=r"timm cannot give those of resnet10t \(no route to host\); download .* https://"
    ):
        timm(3, 7, name="resnet10t", weights="imagenet")
    assert not caplog.records, "of every attempt a line"
