"""The model card says what the run's logs say, and nothing in them becomes markup."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from run_folders import RESULTS, make_run

from twostream.config.clips import build_clips
from twostream.config.loaded import load_run
from twostream.export.card import LICENSE, model_card

SMALL = ["transform.size=32", "flow.length=2"]
ROOT = Path(__file__).parents[2]


def card_of(folder: Path, *overrides: str, files: tuple[str, ...] = ("model.safetensors",), **options) -> str:
    run = load_run(make_run(folder, *SMALL, *overrides, results=options.pop("results", RESULTS)))
    return model_card(run, build_clips(run.cfg, (), one_view=False), files, **options)


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_metadata(tmp_path: Path) -> None:
    found = front(card_of(tmp_path / "run"))
    assert found["license"] == LICENSE == "apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "datasets" not in found, "the embedded set is not on the Hub"
    [entry] = found["model-index"]
    assert entry["name"] == "conv at conv5, tiny, moving_patterns"
    [result] = entry["results"]
    assert result["dataset"] == {"type": "moving_patterns", "name": "moving_patterns, test videos of split 1"}
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {
        "top-1 accuracy": 0.625,
        "mean class accuracy": 0.5,
    }
    results = {**RESULTS, "choices": {**RESULTS["choices"], "data": "ucf101"}}
    assert front(card_of(tmp_path / "ucf", results=results))["datasets"] == ["ucf101"]


def test_it_says_what_each_stream_started_from_without_folders(tmp_path: Path) -> None:
    weights = {"rgb": "/home/lovelace/a.pth (network.rgb.backbone.*)", "flow": "runs/ada/b.pth, first layer averaged"}
    card = card_of(tmp_path / "run", results={**RESULTS, "weights": weights}).replace("\\", "")
    assert "| rgb started from | a.pth " in card
    assert "| flow started from | b.pth, first layer averaged |" in card
    assert not re.search("lovelace|ada/|random weights", card)
    assert "| optical flow | " in card
    assert "| optical flow | " not in card_of(tmp_path / "diff", "streams=[rgb,diff]")


def test_numbers_are_those_of_the_logs(tmp_path: Path) -> None:
    overrides = ["sampling.num_chunks=3", "sampling.test_views=4", "transform.test=five", "transform.test_flip=true"]
    overrides.append("data.mirror=true")
    card = card_of(tmp_path / "run", *overrides)
    assert "| top-1 accuracy | 0.6250 |" in card
    assert "| FLOPs of a clip | 2.500 G" in card
    assert "| took | 61 s |" in card
    assert "Of 3 epochs, validation chose epoch 2 (val/top1 0.7500)." in card
    assert "of 40 clip\\(s\\)\\: 4 views in time × 10 crop\\(s\\) of the frame \\(five and mirrored\\)" in card
    assert "T = 3 chunks of one RGB frame and L = 2 flow fields" in card
    assert "| trained on | moving\\_patterns split 1, 1 videos, fingerprint " in card
    assert "| torch | 2.11.0 |" in card
    parameters = sum(p.numel() for p in load_run(tmp_path / "run").system.network.parameters())
    assert f"| parameters | {parameters:,} |" in card


def test_it_says_what_was_done_about_classes_of_unequal_size(tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", "loss.class_weights=balanced", "loss.focal=2", "sampler=balanced")
    assert "| loss | class\\_weights balanced, focal 2 |" in card
    assert "| sampler | balanced |" in card
    plain = card_of(tmp_path / "plain")
    assert "| loss |" not in plain
    assert "| sampler |" not in plain


def test_names_are_no_markup(tmp_path: Path) -> None:
    results = {
        **RESULTS,
        "choices": {**RESULTS["choices"], "data": "x\n---\n# <script>alert(1)</script> [a](http://e.org) 'q\": "},
        "overrides": ["name=```\n# heading", "epochs=3"],
        "versions": {"a|b": "1\n\n# heading"},
        "git": "`rm`",
    }
    card = card_of(tmp_path / "run", results=results)
    body = card.split("\n---\n", 1)[1]
    assert "3 classes: run, jump, a\\|b \\<c\\>." in body
    assert not re.search(r"(?<!\\)<", body), "no HTML"
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert [line for line in headings if line.startswith("## ")] == [
        "## Results", "## Network", "## Training", "## How to use it", "## Limits", "## Versions",
    ]  # fmt: skip
    assert len(headings) == 7, "and the title"
    assert "````bash\ntwostream train name=``` # heading epochs=3\n````" in body, "a fence that it cannot end"
    assert "| a\\|b | 1 \\# heading |" in body
    assert "<script>" in front(card)["model-index"][0]["name"], "quoted in YAML, not lost"


def test_how_to_load_what_is_there(tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", files=("model.onnx", "model.safetensors"), repo="ada/net")
    assert 'load_run(download_run("ada/net"))' in card
    assert 'session.run(None, {"rgb": rgb_uint8, "flow": flow_int8})' in card
    assert "torch.export" not in card
    for code in re.findall(r"```python\n(.*?)```", card, flags=re.S):
        compile(code, "card", "exec")
    card = card_of(tmp_path / "flow", "streams=flow", files=("model.pt2",))
    assert "program(flow_int8)" in card


def test_a_run_that_was_not_tested(tmp_path: Path) -> None:
    card = card_of(tmp_path / "run", results=None)
    assert "has no results.json: it was not tested." in card
    assert "model-index" not in front(card)
    leaked = card_of(tmp_path / "leaked", results={**RESULTS, "leaked": 2, "unreadable": {"test": ["v"]}})
    assert "trained on 2 of these test videos: the numbers mean nothing" in leaked
    assert "1 video of test could not be read" in leaked
