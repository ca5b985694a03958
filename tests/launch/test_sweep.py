"""A sweep goes on where it was stopped, and tells what became of each cell."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from twostream.config.compose import compose_config
from twostream.config.data import build_lists, build_source
from twostream.data.record import summary_of
from twostream.files.errors import UserError
from twostream.files.lock import Claim
from twostream.launch import claim as claim_file
from twostream.launch.claim import claimed, difference, identity, is_finished, lists_of
from twostream.launch.sweep import BASIC_SWEEPER, Ledger, cell_name, plan, sweep_name
from twostream.report import as_text, build_report
from twostream.runs.results import validation_accuracy, write_json
from twostream.runs.sweep import read_sweep


def test_a_plan_has_every_combination_in_the_order_typed() -> None:
    axes, cells, fixed = plan(["seed=range(2)", "epochs=3", "layer=[conv4,conv5],conv5", "+experiment=a,b"])
    assert plan(["~attention", "fusion=sum,max"])[2] == {"~attention": "null"}
    assert fixed == {"epochs": "3"}
    assert axes == {"seed": ["0", "1"], "layer": ["[conv4,conv5]", "conv5"], "experiment": ["a", "b"]}
    assert len(cells) == 8
    assert cells[1] == {"seed": "0", "layer": "[conv4,conv5]", "experiment": "b"}
    assert cells[-1] == {"seed": "1", "layer": "conv5", "experiment": "b"}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Planned: fusion=sum,max × seed=0,1,2; finished, failed, running, interrupted, and two that have not begun."""
    axes, cells, fixed = plan(["fusion=sum,max", "seed=0,1,2", "epochs=3"])
    ledger = {"command": "python train.py -m …", "axes": axes, "cells": cells, "fixed": fixed}
    write_json(tmp_path / "ledger.json", ledger)
    for name, overrides in {
        "finished": ["fusion=sum", "seed=0", "epochs=3"],
        "failed": ["epochs=3", "fusion=sum", "seed=1", "num_workers=2"],
        "running": ["fusion=max", "seed=0", "epochs=3"],
        "interrupted": ["seed=2", "fusion=max", "epochs=3"],
    }.items():
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "overrides.json", overrides)
    write_json(tmp_path / "finished" / "results.json", {"metrics": {"test/top1": 0.5}})
    (tmp_path / "failed" / "error.txt").write_text("Traceback …\nValueError: no\n")
    (tmp_path / "failed" / "config.yaml").write_text("seed: 1\n")  # it had begun
    return tmp_path


def test_each_state_is_told(sweep: Path) -> None:
    claim = Claim(sweep / "running" / "results.json")
    assert claim.take()
    found = read_sweep(sweep)
    assert found.axes == {"fusion": ("sum", "max"), "seed": ("0", "1", "2")}
    assert [(cell.overrides["fusion"], cell.overrides["seed"], cell.state) for cell in found.cells] == [
        ("sum", "0", "finished"),
        ("sum", "1", "failed"),
        ("sum", "2", "missing"),
        ("max", "0", "running"),
        ("max", "1", "missing"),
        ("max", "2", "interrupted"),
    ]
    assert found.cells[0].results == {"metrics": {"test/top1": 0.5}}
    assert found.cells[1].error == "ValueError: no"
    claim.release()
    assert read_sweep(sweep).cells[3].state == "interrupted"


def test_a_folder_of_runs_without_a_plan(sweep: Path) -> None:
    (sweep / "ledger.json").unlink()
    write_json(sweep / "running" / "overrides.json", ["fusion=max", "seed=0"])
    found = read_sweep(sweep)
    assert found.axes == {"epochs": ("3", ""), "fusion": ("sum", "max"), "seed": ("1", "0", "2")}
    assert sorted(cell.state for cell in found.cells) == ["failed", "finished", "interrupted", "interrupted"]


def test_what_a_finished_run_left_untyped_is_in_its_results(sweep: Path) -> None:
    (sweep / "ledger.json").unlink()
    write_json(sweep / "finished" / "overrides.json", ["epochs=3"])
    results = {"choices": {"fusion": "max"}, "seed": 2, "metrics": {"test/top1": 0.5}}
    write_json(sweep / "finished" / "results.json", results)
    [finished] = [cell for cell in read_sweep(sweep).cells if cell.state == "finished"]
    assert finished.overrides == {"fusion": "max", "seed": "2"}


@pytest.mark.parametrize("knows", [True, False], ids=["fixed", "older ledger"])
def test_runs_of_an_earlier_command_are_no_replicates(sweep: Path, knows: bool) -> None:
    ledger = json.loads((sweep / "ledger.json").read_text())
    if not knows:
        del ledger["fixed"]
    write_json(sweep / "ledger.json", ledger)
    write_json(sweep / "finished" / "overrides.json", ["fusion=sum", "seed=0", "epochs=9"])
    write_json(sweep / "interrupted" / "overrides.json", ["fusion=max", "seed=2", "epochs=3", "~attention", "~logger="])
    found = read_sweep(sweep)
    assert found.axes.pop("~attention") == ("", "null")  # type: ignore[attr-defined]
    assert found.axes == {"fusion": ("sum", "max"), "seed": ("0", "1", "2"), "epochs": ("3", "9")}
    values = [(*list(cell.overrides.values())[:3], cell.state) for cell in found.cells[:3]]
    assert values == [
        ("sum", "0", "3", "missing"),
        ("sum", "0", "9", "finished"),
        ("sum", "1", "3", "failed"),
    ]


def test_a_plan_of_the_basic_sweeper_has_its_params(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    sweeper = {"_target_": BASIC_SWEEPER, "params": {"layer": "conv4,conv5", "seed": "0,1", "epochs": 2}}
    hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": ["fusion=sum,max", "seed=3"]}, "sweeper": sweeper}
    Ledger()._write(OmegaConf.create({"hydra": hydra}))
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["axes"] == {"layer": ["conv4", "conv5"], "fusion": ["sum", "max"]}
    assert (len(ledger["cells"]), ledger["fixed"]) == (4, {"epochs": "2", "seed": "3"})
    assert cell_name(["layer=conv4", "fusion=max", "seed=3"], str(tmp_path)) == "fusion_max-layer_conv4"


def test_every_word_of_the_command_makes_another_sweep(monkeypatch) -> None:
    names = set()
    for further in ([], ["~attention"], ["hydra.sweeper.params={layer: conv4}"], ["epochs=2"]):
        monkeypatch.setattr("sys.argv", ["train.py", "-m", "fusion=sum,max", *further, "hydra.verbose=true"])
        names.add(sweep_name())
    assert len(names) == 4
    assert all(name.startswith("fusion-") for name in names)


def test_two_runs_of_the_same_values_are_both_there(sweep: Path) -> None:
    write_json(sweep / "failed" / "overrides.json", ["fusion=sum", "seed=0", "epochs=3"])
    states = [cell.state for cell in read_sweep(sweep).cells if cell.overrides == {"fusion": "sum", "seed": "0"}]
    assert sorted(states) == ["failed", "finished"]


def test_a_sweeper_that_decides_as_it_goes_has_axes_without_values(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    typed = ["fusion=choice(sum,max)", "dropout=interval(0.1,0.5)", "epochs=1"]
    sweeper = {"_target_": "OptunaSweeper", "params": {"layer": "choice(conv4,conv5)"}}
    hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": typed}, "sweeper": sweeper}
    Ledger()._write(OmegaConf.create({"hydra": hydra}))
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "overrides.json", ["epochs=1", "layer=conv4", "fusion=max", "dropout=0.2"])
    write_json(tmp_path / "run" / "results.json", {"metrics": {}, "validation": 0.25})
    found = read_sweep(tmp_path)
    assert found.axes == {"layer": ("conv4",), "fusion": ("max",), "dropout": ("0.2",)}
    assert [cell.state for cell in found.cells] == ["finished"]
    assert validation_accuracy(tmp_path / "run") == 0.25  # what Optuna is told when the command is repeated
    assert validation_accuracy(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"axes": {}, "cells": [{"a": 1}], "command": ""}', '{"axes": 3'])
def test_a_damaged_plan_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(ValueError, match=r"ledger.json: damaged"):
        read_sweep(tmp_path)


def test_no_sweep_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no training run is in it or below it"):
        read_sweep(tmp_path)
    with pytest.raises(ValueError, match="absent: no such folder"):
        read_sweep(tmp_path / "absent")


def test_the_name_of_a_cell_is_its_place_on_the_axes(tmp_path: Path) -> None:
    write_json(tmp_path / "ledger.json", {"command": "", "axes": {"layer": [], "seed": []}, "cells": []})
    assert cell_name(["epochs=1", "seed=0", "layer=conv3"], str(tmp_path)) == "layer_conv3-seed_0"
    lists = {cell_name([f"layer={value}"], str(tmp_path)) for value in ("[conv3,conv4]", "[conv3;conv4]", "../conv3")}
    assert len(lists) == 3
    assert cell_name(OmegaConf.create(["seed=${nothing:}", "epochs=3"]), str(tmp_path)).startswith("seed_")  # type: ignore[arg-type]
    assert not any(set("[],;/ ") & set(name) for name in lists)


def test_what_makes_a_cell_another_one(tmp_path: Path) -> None:
    first, same, other = (compose_config(words) for words in ([], ["num_workers=3", "logger=csv"], ["epochs=7"]))
    assert identity(first) == identity(same) != identity(other)
    OmegaConf.save(first, tmp_path / "config.yaml", resolve=True)
    assert difference(other, tmp_path) == "epochs: 6 there, 7 here"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """How Hydra has started this process."""
    hydra = SimpleNamespace(mode=RunMode.RUN, overrides=SimpleNamespace(task=[]))
    monkeypatch.setattr(claim_file.HydraConfig, "get", lambda: hydra)
    for name in ("RANK", "SLURM_NTASKS", claim_file.STARTED_BY):
        monkeypatch.delenv(name, raising=False)
    return hydra


def test_a_folder_that_another_process_is_at(tmp_path: Path, started, monkeypatch, capsys) -> None:
    cfg, other = compose_config([]), Claim(tmp_path / "results.json")
    assert other.take()
    with pytest.raises(SystemExit, match="another process is at it"), claimed(cfg, tmp_path):
        pass
    started.mode = RunMode.MULTIRUN
    with claimed(cfg, tmp_path) as claim:
        assert claim is None, "the cell is in good hands"
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit, match="another process is at it"), claimed(cfg, tmp_path):
        pass
    assert other.lock.exists()
    assert not (tmp_path / "overrides.json").exists()
    other.release()
    with claimed(cfg, tmp_path) as claim:
        assert claim is not None
        assert claim.lock.exists()
    assert not claim.lock.exists()


def test_a_folder_that_was_finished_while_its_claim_was_taken(tmp_path: Path, started, monkeypatch) -> None:
    cfg, take = compose_config([]), Claim.take

    def late(claim: Claim) -> bool:
        write_json(tmp_path / "results.json", {"cell": identity(cfg), "metrics": {}})
        return take(claim)

    monkeypatch.setattr(Claim, "take", late)
    with claimed(cfg, tmp_path) as claim:
        assert claim is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


DAMAGED = [
    '{"metrics"',
    "[]",
    '{"metrics": 3}',
    '{"metrics": {"test/top1": 1e300}}',
    '{"metrics": {"test/top1": NaN}}',
    '{"metrics": {"test/top1": "0.5"}}',
    '{"metrics": {}, "seconds": 1e300}',
    '{"metrics": {}, "validation": [0.5]}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_cell_with_damaged_results_is_named_and_the_rest_is_reported(sweep: Path, text: str) -> None:
    write_json(sweep / "interrupted" / "overrides.json", ["fusion=sum", "seed=1", "epochs=3"])
    (sweep / "interrupted" / "results.json").write_text(text)
    report = build_report(read_sweep(sweep))
    assert dict(report.states) == {"finished": 1, "failed": 1, "interrupted": 1, "damaged": 1, "missing": 3}
    [told] = [line for line in as_text(report).splitlines() if "damaged" in line and "no result: " in line]
    assert f"interrupted: damaged, {sweep}/interrupted/results.json: damaged" in told
    assert validation_accuracy(sweep / "interrupted") is None, "what Optuna is told"


def test_a_cell_with_damaged_results_is_run_again(tmp_path: Path, started, capsys) -> None:
    path, cfg = tmp_path / "results.json", compose_config([])
    path.write_text('{"metrics": {"test/top1": 1e300}}')
    with pytest.raises(UserError, match=r"results.json: damaged.*; delete it to have the run repeated"):
        is_finished(cfg, tmp_path)
    started.mode = RunMode.MULTIRUN
    with claimed(cfg, tmp_path) as claim:
        assert claim is not None
    assert f"{tmp_path}: its results.json is damaged; the cell is run again" in capsys.readouterr().out
    assert not path.exists()


def test_overrides_that_are_damaged_are_those_of_the_results(sweep: Path) -> None:
    results = {"metrics": {"test/top1": 0.5}, "overrides": ["fusion=sum", "seed=0", "epochs=3"]}
    write_json(sweep / "finished" / "results.json", results)
    for folder in ("finished", "interrupted"):
        (sweep / folder / "overrides.json").write_text("[")
    found = read_sweep(sweep)
    assert [cell.state for cell in found.cells].count("finished") == 1
    assert len(found.cells) == 6, "what is lost of the other is missing"
    [told] = found.left_out
    assert told.startswith(f"{sweep}/interrupted/overrides.json: damaged")


def test_a_cell_that_was_finished_on_other_videos_is_not_taken(tmp_path: Path, started) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "data" / name[0]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / f"{name}.avi").touch()
    cfg = compose_config(["data=folder", f"data.root={tmp_path}/data", "validation_fraction=0"])
    source = build_source(cfg)
    lists = summary_of(source.classes, build_lists(cfg, source))
    write_json(tmp_path / "results.json", {"cell": identity(cfg), "metrics": {"test/top1": None}, "data": lists})
    lists_of.cache_clear()
    assert is_finished(cfg, tmp_path)
    (tmp_path / "data" / "a" / "3.avi").touch()
    lists_of.cache_clear()
    with pytest.raises(UserError, match=r"another configuration \(other training videos, 2 there and 3 here"):
        is_finished(cfg, tmp_path)
    (tmp_path / "data" / "b").rename(tmp_path / "gone")
    lists_of.cache_clear()
    assert is_finished(cfg, tmp_path), "there is nothing to compare with, and it says so"


def test_a_finished_run_says_how_to_train_anew(tmp_path: Path, started) -> None:
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(compose_config([]), resolve=True))
    write_json(tmp_path / "results.json", {"cell": identity(compose_config([])), "metrics": {"test/top1": 1.0}})
    started.overrides.task = ["epochs=9", "layer=[conv4,conv5]"]
    told = r"\(epochs: 6 there, 9 here\); a finished run does not go on; .* epochs=9 'layer=\[conv4,conv5\]'$"
    with pytest.raises(UserError, match=told):
        is_finished(compose_config(["epochs=9"]), tmp_path)
    started.mode = RunMode.MULTIRUN
    with pytest.raises(UserError, match=r"9 here\); delete them, or choose another folder$"):
        is_finished(compose_config(["epochs=9"]), tmp_path)


def test_what_a_run_was_started_with_stays_until_its_checkpoint_is_accepted(tmp_path: Path, started) -> None:
    write_json(tmp_path / "overrides.json", ["epochs=3"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "recovery-00001-0000000.ckpt").touch()
    started.overrides.task = ["epochs=3", "fusion=sum"]
    with claimed(compose_config(["fusion=sum"]), tmp_path):
        pass
    assert json.loads((tmp_path / "overrides.json").read_text()) == ["epochs=3"]
