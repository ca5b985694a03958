"""What training starts from: ImageNet on real data, said and written; nothing random stays frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twostream.config import build_network, build_system, compose_config, starts
from twostream.config.network import check_starts
from twostream.models.backbone import weights as weights_module

REAL = ("ucf101", "hmdb51", "folder")
SMALL = ["backbone=squeezenet1_0", "transform.size=64"]


def check(overrides: list[str]) -> None:
    cfg = compose_config(overrides)
    check_starts(cfg, build_network(cfg, 10, meta=True))


@pytest.mark.parametrize("data", REAL)
def test_real_data_start_from_imagenet_as_the_readme_says(data: str) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert "`backbone=resnet18` with\nImageNet weights" in readme
    cfg = compose_config([f"data={data}"])
    assert (cfg.backbone["_target_"].rpartition(".")[2], cfg.backbone.weights) == ("resnet18", "imagenet")
    assert compose_config([f"data={data}", "weights=null"]).backbone.weights is None
    assert compose_config([f"data={data}", "backbone=vgg16", "backbone@flow_backbone=resnet18"]).flow_backbone.weights


def test_the_embedded_data_set_starts_from_random_values() -> None:
    for backbone in ("tiny", "resnet18", "vgg16"):
        assert compose_config([f"backbone={backbone}"]).backbone.weights is None


def test_without_a_network_one_line_names_the_address_the_place_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(ValueError, match="cannot download") as error:
        check(["data=folder", "data.root=absent"])
    text = str(error.value)
    assert "https://download.pytorch.org/models/resnet18-" in text
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-") in text
    assert "weights=null" in text
    assert "backbone.weights=PATH" in text


def test_a_network_without_published_weights_asks_for_a_file() -> None:
    with pytest.raises(ValueError, match=r"none for vgg_m to download; give the path.*weights=null"):
        check(["data=ucf101", "backbone=vgg_m"])


def test_a_run_says_what_each_stream_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cfg = compose_config([*SMALL, "weights=null"])
    system = build_system(cfg, ("a", "b"))
    assert starts(system.network) == {"rgb": "random", "flow": "random"}

    published = build_network(compose_config([*SMALL, "streams=rgb"]), 1000).rgb.backbone
    named = {theirs: published.state_dict()[ours] for ours, theirs in published.source_names.items()}
    file = weights_module.downloaded(published.urls["imagenet"])
    file.parent.mkdir(parents=True)
    torch.save(named, file)
    found = starts(build_system(compose_config([*SMALL, "weights=imagenet"]), ("a", "b")).network)
    assert found == {
        "rgb": f"imagenet ({file.name})",
        "flow": f"imagenet ({file.name}), first layer averaged over colours",
    }
    given = starts(
        build_system(compose_config([*SMALL, "streams=rgb", f"backbone.weights={file}"]), ("a", "b")).network
    )
    assert given == {"rgb": str(file)}


@pytest.mark.parametrize("overrides", [["train_from=fusion"], ["streams=rgb", "train_from=fc8"], ["train_from=conv4"]])
def test_nothing_random_stays_frozen(overrides: list[str]) -> None:
    with pytest.raises(ValueError, match=r"train_from=\w+: the rgb stream below it would stay random"):
        check(overrides)
    check([*overrides[:-1], "train_from=conv1"] if "streams=rgb" in overrides else ["train_from=all"])


def test_a_flow_stream_that_is_random_below_a_trained_rgb_stream_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.touch()
    with pytest.raises(ValueError, match="the flow stream below it would stay random"):
        check(["train_from=fusion", f"init.rgb={file}"])


@pytest.mark.parametrize("name", ["t1_conv", "t1_late", "t2_conv3", "t5_vgg16_two_towers"])
def test_an_experiment_that_needs_trained_streams_names_the_command_that_trains_them(name: str) -> None:
    backbone = "vgg16" if "vgg16" in name else "vgg_m"
    with pytest.raises(ValueError, match=rf"experiment=t3_{backbone}_spatial data.root=DIR split=1.*init.rgb=RUN_DIR"):
        check([f"experiment={name}"])
