"""What training starts from: ImageNet on real data, said and written; nothing random stays frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from twostream.config.compose import compose_config
from twostream.config.network import build_network, check_starts, starts, without_starts
from twostream.config.run import build_run, build_system, check_training
from twostream.config.saved import load_config
from twostream.config.starts import start_of
from twostream.files.errors import UserError, checked
from twostream.launch.claim import difference, identity
from twostream.models.backbone import weights as weights_module

REAL = ("ucf101", "hmdb51", "ucf11", "ucf50", "folder")
SMALL = ["backbone=squeezenet1_0", "transform.size=64"]


def check(overrides: list[str]) -> None:
    cfg = compose_config(overrides)
    check_starts(cfg, build_network(cfg, 10, meta=True))


@pytest.mark.long
@pytest.mark.parametrize("data", REAL)
def test_real_data_start_from_imagenet_as_the_readme_says(data: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
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

    monkeypatch.setattr(weights_module, "urlopen", unreachable)
    cfg = compose_config(["data=folder", "data.root=absent"])
    with pytest.raises(UserError, match=r"data\.root='absent': .*absent does not exist"):  # comes first
        build_run(cfg, tmp_path)
    with pytest.raises(UserError, match="cannot download") as error, checked():
        build_system(cfg, ("a", "b"))
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
    columns = ["data=folder", f"data.root={tmp_path}", "data.csv=data.csv", "streams=depth", "column.colour=grey"]
    for first_layer in ("summed", "averaged"):
        cfg = compose_config([*SMALL, *columns, f"column.first_layer={first_layer}", "weights=imagenet"])
        assert (
            starts(build_network(cfg, 2))["depth"] == f"imagenet ({file.name}), first layer {first_layer} over colours"
        )
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


@pytest.mark.parametrize("name", ["t1_conv", "t1_late", "t2_conv3", "t5_vgg16_two_towers", "st_multiplier"])
def test_an_experiment_that_needs_trained_streams_names_the_command_that_trains_them(name: str) -> None:
    single = "st" if name.startswith("st_") else "t3_vgg16" if "vgg16" in name else "t3_vgg_m"
    with pytest.raises(ValueError, match=rf"experiment={single}_spatial data.root=DIR split=1.*init.rgb=RUN_DIR"):
        check([f"experiment={name}"])


def weights_file(folder: Path, words: list[str], *, without: str = "no tensor") -> Path:
    """The weights of a single RGB stream, but for those whose name contains `without`."""
    tensors = build_network(compose_config([*words, "streams=rgb"]), 5).rgb.backbone.state_dict()
    torch.save({name: tensor for name, tensor in tensors.items() if without not in name}, folder / "weights.pt")
    return folder / "weights.pt"


def test_what_a_file_lacks_is_said_and_may_not_be_frozen(tmp_path: Path) -> None:
    file = weights_file(tmp_path, [])
    words = [f"backbone.weights={file}", "backbone.cross_modality=false"]
    network = build_system(compose_config(words), ("a", "b")).network
    assert starts(network) == {"rgb": str(file), "flow": f"{file}; random: conv1"}
    with pytest.raises(ValueError, match=r"train_from=fusion: conv1 of the flow stream below it would stay random"):
        build_system(compose_config([*words, "train_from=fusion"]), ("a", "b"))
    build_system(compose_config([f"backbone.weights={file}", "train_from=fusion"]), ("a", "b"))


def test_layers_that_no_weights_are_for_and_that_stay_are_named(tmp_path: Path) -> None:
    words = [f"backbone.weights={weights_file(tmp_path, [])}", "train_from=fc8"]
    layers = ["attention=se", "attention_after=[conv3]"]
    told = "train_from=fc8: {} stay as they begin, for no training has reached them"
    assert check_training(compose_config(words)) == [told.format("fusions.conv5")]
    found = check_training(compose_config([*words, *layers]))
    assert found == [told.format("rgb.attention.conv3, flow.attention.conv3, fusions.conv5")]
    assert check_training(compose_config(["attention=se"])) == []


def test_weights_that_no_backbone_takes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights=/absent.pt: no backbone here takes it; give backbone.weights=PATH"):
        check(["weights=/absent.pt"])
    check(["data=ucf101", "backbone=tiny"])  # a default: the line of the run says that tiny begins at random


def test_a_backbone_without_weights_of_its_own_cannot_start_from_a_run(tmp_path: Path) -> None:
    file = tmp_path / "rgb.ckpt"
    file.touch()
    cfg = compose_config([])
    del cfg.backbone.weights
    assert start_of(cfg, "rgb") is None
    assert "weights" not in without_starts(cfg).backbone
    cfg.init.rgb = str(file)
    with pytest.raises(ValueError, match=r"init.rgb=.*rgb.ckpt: this backbone has no option `weights`"):
        start_of(cfg, "rgb")


def test_an_experiment_of_one_stream_does_not_ask_for_the_other() -> None:
    with pytest.raises(ValueError, match=r"^init.rgb=required"):
        check_training(compose_config(["experiment=t1_conv", "streams=rgb", "train_from=all"]))


def old_run(folder: Path, *overrides: str) -> Path:
    """What a run left when SqueezeNet had the published ReLU and its configuration did not say so."""
    cfg = compose_config([*SMALL, "streams=[rgb]", "weights=null", *overrides])
    torch.manual_seed(0)
    network = build_network(cfg, 10)
    OmegaConf.set_struct(cfg, False)
    cfg.backbone.pop("relu", None)
    (folder / "checkpoints").mkdir(parents=True)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    torch.save({"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}, best_of(folder))
    return folder


def best_of(folder: Path) -> Path:
    return folder / "checkpoints" / "best.ckpt"


def test_an_old_run_of_squeezenet_keeps_its_relu(tmp_path: Path) -> None:
    cfg = load_config(old_run(tmp_path / "run"))
    assert cfg.backbone.relu is True
    assert any(isinstance(part, torch.nn.ReLU) for part in build_network(cfg, 10).rgb.stages["fc8"])
    assert "relu" not in load_config(old_run(tmp_path / "other", "backbone=tiny")).backbone


@pytest.mark.parametrize("relu", ["true", "false"])
def test_a_stream_goes_on_with_the_relu_that_it_was_trained_with(relu: str, tmp_path: Path) -> None:
    overrides = [*SMALL, "layer=softmax", "fusion=sum", "epochs=0", f"init.rgb={old_run(tmp_path)}"]
    cfg = compose_config([*overrides, "weights=null", f"backbone.relu={relu}"])
    if relu == "true":
        assert start_of(cfg, "rgb") == str(best_of(tmp_path))
        return
    with pytest.raises(ValueError, match=r"init.rgb=.*with backbone.relu=true, so its scores.*; give backbone.relu"):
        start_of(cfg, "rgb")


def test_an_interrupted_old_run_is_told_of_the_relu(tmp_path: Path) -> None:
    old_run(tmp_path)
    now = compose_config([*SMALL, "streams=[rgb]", "weights=null"])
    assert "relu" in difference(now, tmp_path)
    assert identity(now) != identity(OmegaConf.load(tmp_path / "config.yaml"))
