"""To a Hub and back: the same network; nothing that runs somebody else's code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Hub, running_hub
from run_folders import make_run

import twostream
from twostream.cli import main
from twostream.config.loaded import load_run
from twostream.export.hub import download_run, push_folder
from twostream.export.run import export_run, from_system

constants = pytest.importorskip("huggingface_hub.constants", reason="the Hub: pip install 'twostream[hub]'")
SMALL = ["transform.size=32", "flow.length=2"]


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_ada")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # our server speaks Git LFS
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", *SMALL)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory) -> dict[str, bytes]:
    to = export_run(run, "safetensors", to=tmp_path_factory.mktemp("out") / "out", say=str)
    return {path.name: path.read_bytes() for path in to.iterdir()}


@pytest.mark.long
def test_there_and_back(run: Path, hub: Hub, tmp_path: Path, monkeypatch, capsys) -> None:
    command = ["twostream", "export", str(run), "--push", "ada/net", "--private", "--to", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert f"{hub.url}/ada/net/commit/" in capsys.readouterr().out
    sent = hub.repositories["ada/net"]
    assert set(sent) == {
        "README.md", "config.json", "metrics.csv", "model.safetensors", "preprocessing.json", "results.json",
    }  # fmt: skip
    assert hub.private == {"ada/net": True}
    assert len(hub.commits) == 1, "all files or none"
    assert hub.tokens == {"Bearer hf_of_ada"}
    assert b'download_run("ada/net")' in sent["README.md"]

    fetched = download_run("hf://ada/net", cache=tmp_path / "cache")
    assert (fetched / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()
    inputs = {"rgb": torch.full((2, 1, 3, 32, 32), 9, dtype=torch.uint8), "flow": torch.ones(2, 1, 4, 32, 32).char()}
    ours, theirs = load_run(run), load_run(fetched)
    assert torch.equal(from_system(ours.system)(inputs), from_system(theirs.system)(inputs))
    assert ours.history == theirs.history

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert twostream.load("hf://ada/net", device="cpu").classes == ours.system.classes

    asked = len(hub.asked)
    assert download_run("ada/net", cache=tmp_path / "cache") == fetched
    assert not [request for request in hub.asked[asked:] if "/resolve/" in request], "fetched once"


def test_only_what_is_known_is_fetched(hub: Hub, exported, tmp_path: Path) -> None:
    hub.repositories["ada/net"] = {
        **exported,
        "pytorch_model.bin": b"pickle",
        "config.yaml": b"x",
        "run.py": b"print()",
    }
    fetched = download_run("ada/net", cache=tmp_path)
    assert {path.name for path in fetched.iterdir()} == set(exported)
    assert not [request for request in hub.asked if ".bin" in request or ".py" in request]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"transform": {"_target_": "os.system", "command": "true"}}, "names code that no option .* does: 'os.system'"),
        ({"layer": "${oc.env:HOME}"}, "looked up when read are not taken from others"),
    ],
    ids=["code", "lookup"],
)
def test_a_configuration_of_somebody_else(hub: Hub, exported, tmp_path: Path, change: dict, told: str) -> None:
    config = {**json.loads(exported["config.json"]), **change}
    hub.repositories["eve/net"] = {**exported, "config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match=told):
        download_run("eve/net", cache=tmp_path)


def test_what_is_no_network(hub: Hub, exported, run: Path, tmp_path: Path) -> None:
    hub.repositories["ada/other"] = {"README.md": b"", "pytorch_model.bin": b""}
    with pytest.raises(ValueError, match=r"hf://ada/other: has no config\.json, so it is no network of twostream"):
        download_run("ada/other", cache=tmp_path)
    with pytest.raises(ValueError, match=r"hf://ada/none: .*404"):
        download_run("ada/none", cache=tmp_path)
    with pytest.raises(ValueError, match=r"'net': name a repository of the Hub as OWNER/NAME"):
        download_run("net")
    with pytest.raises(ValueError, match=r"has no config\.json; export it with --format safetensors"):
        push_folder(tmp_path, "ada/net")


def test_a_hub_that_cannot_be_reached(hub: Hub, exported, tmp_path: Path, monkeypatch) -> None:
    for name, content in exported.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"--push ada/net: "):
        push_folder(tmp_path, "ada/net")
    with pytest.raises(ValueError, match=r"hf://ada/net: "):
        download_run("ada/net", cache=tmp_path / "cache")


def test_what_is_not_sent(run: Path, monkeypatch) -> None:
    command = ["twostream", "export", str(run), "--format", "torch-export", "--push", "ada/net"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="holds pickled parts; push onnx or safetensors"):
        main()
    assert not (run / "export").exists()
