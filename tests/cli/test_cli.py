"""`twostream info`: numbers of the paper, as a table and as JSON."""

from __future__ import annotations

import json
import sys

import pytest

from twostream.cli import main


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["twostream", *arguments])
    main()


def test_info_as_json_has_the_papers_parameters(monkeypatch, capsys) -> None:
    run(monkeypatch, "info", "--json", "experiment=t5_vgg16_two_towers")
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["heads"]) == (283_514_762, 2)
    rows = {(row["part"], row["name"]): row for row in found["rows"]}
    assert rows["rgb", "conv5"]["shape"] == [5, 512, 14, 14]
    assert rows["rgb", "conv5"]["stride"] == 16
    assert rows["fusion", "conv5"]["shape"] == [5, 1024, 14, 14]
    assert rows["rgb temporal", "conv5"]["shape"] == [1, 512, 14, 14]
    assert rows["rgb temporal", "conv5"]["parameters"] == 14_156_288


def test_info_counts_flops_of_a_layer_by_hand(monkeypatch, capsys) -> None:
    """fc8 of VGG-16 on RGB alone changes by 2 · 4096 FLOPs for each class and frame."""
    counts = []
    for classes in ("101", "102"):
        run(monkeypatch, "info", "--json", "--classes", classes, "experiment=t3_vgg16_spatial")
        counts.append(json.loads(capsys.readouterr().out)["flops"])
    assert counts[1] - counts[0] == 5 * 2 * 4096
    assert counts[0] == pytest.approx(5 * 2 * 15.47e9, rel=0.01), "VGG-16 has 15.5 G multiply-adds"


def test_info_as_a_table(monkeypatch, capsys) -> None:
    run(monkeypatch, "info", "fusion=max", "layer=[conv3,conv5]")
    text = capsys.readouterr().out
    assert text.count("MaxFusion") == 2
    assert "parameters" in text


def test_info_warns_where_a_bound_does_not_apply(monkeypatch, capsys) -> None:
    run(monkeypatch, "info", "--json", "sampling.num_chunks=4", "sampling.stride=[1,2]")
    printed = capsys.readouterr()
    assert json.loads(printed.out)
    assert printed.err.startswith("WARNING: moving_patterns: the test shows RGB 4 moments")


def test_info_of_clips_does_not_warn_of_data_that_nobody_named(monkeypatch, capsys) -> None:
    run(monkeypatch, "info", "backbone.inflate=true", "sampling=clip", "sampling.num_frames=8", "flow.length=1")
    assert not capsys.readouterr().err


def test_info_has_a_row_for_the_fusion_of_several_stages(monkeypatch, capsys) -> None:
    for fusion in ("pyramid", "multilevel"):
        run(monkeypatch, "info", "--json", f"fusion={fusion}", "layer=[conv3,conv5]", "temporal=pool2d")
        found = json.loads(capsys.readouterr().out)
        assert sum(row["parameters"] for row in found["rows"]) == found["parameters"]
        [row] = [row for row in found["rows"] if row["part"] == "fusion"]
        assert (row["name"], row["layer"]) == ("all", f"{fusion.capitalize().replace('level', 'Level')}Fusion")
        assert row["shape"] == ([1, 256, 16, 16] if fusion == "pyramid" else [1, 64, 8, 8])


def test_wrong_input_is_one_line(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "info", "layer=conv9")
    assert str(stopped.value).startswith("error: layer=conv9: did you mean conv5 or conv4? must be conv1, ")
    assert "\n" not in str(stopped.value)


def test_further_processes_are_started_by_the_line_as_it_was_typed(monkeypatch) -> None:
    """Lightning starts them by sys.argv: without the name of the command they would end at once."""
    seen = []
    monkeypatch.setattr("twostream.cli.evaluate.evaluate", lambda arguments: seen.append([*sys.argv[1:]]))
    monkeypatch.setattr(sys, "argv", ["twostream", "evaluate", "RUN_DIR", "--devices", "2"])
    main()
    assert seen == [["evaluate", "RUN_DIR", "--devices", "2"]]
