"""docs/wandb-sweeps.md: what W&B's agent would type, by its own code, and that training understands it."""

from __future__ import annotations

import json
import os
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from warm import Warm

from twostream.config.compose import compose_config
from twostream.training.system import LOGGED

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "wandb-sweeps.md").read_text()
[SWEEP] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]
FEW = ["data.train_clips=32", "data.test_clips=16", "epochs=1", "num_workers=0", "flow.preset=ultrafast"]


def typed(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], command: list[str] | None = None) -> list[str]:
    """The words of the process that an agent starts for one setting of the sweep."""
    from wandb import wandb_agent

    started: list[list[str]] = []

    class Process:
        def __init__(self, *, command: list[str], **_: Any) -> None:
            started.append(command)

    agent: Any = wandb_agent.Agent.__new__(wandb_agent.Agent)  # without a server
    vars(agent).update(_in_jupyter=False, _function=None, _forward_signals=False, _run_processes={})
    agent._sweep_command = list(SWEEP["command"] if command is None else command)
    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(wandb_agent.config_util, "save_config_file_from_dict", lambda *_: None)
    given = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"program": SWEEP["program"], "run_id": "abc123", "args": given})
    [words] = started
    return words


def settings() -> list[dict[str, Any]]:
    """The grid."""
    axes = {name: parameter["values"] for name, parameter in SWEEP["parameters"].items()}
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


@pytest.mark.long
def test_every_setting_of_the_grid_is_typed_as_training_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (SWEEP["method"], len(settings())) == ("grid", 27)
    for values in (settings()[0], settings()[-1]):
        words = typed(monkeypatch, values)
        assert words[:3] == ["/usr/bin/env", "python", "train.py"]
        assert words[-1] == "hydra.run.dir=runs/wandb/${oc.env:WANDB_RUN_ID}"
        cfg = compose_config(words[3:-1])
        layer = cfg.layer if isinstance(cfg.layer, str) else f"[{','.join(cfg.layer)}]"
        assert (layer, cfg.seed) == (values["layer"], values["seed"])
        assert f"fusion={values['fusion']}" in words
    assert SWEEP["metric"]["name"] in {f"val/{name}" for name in LOGGED.values()}


def test_values_become_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row.split("|")[1:3] for row in TEXT.splitlines() if row.startswith("| `")]
    assert len(rows) == 5
    for given, becomes in rows:
        [(name, parameter)] = yaml.safe_load(given.strip(" `")).items()
        word = becomes.strip(" `")
        value = parameter["values"] if "values" in parameter else [float(word.partition("=")[2])]
        words = [typed(monkeypatch, {name: each})[3] for each in value]
        assert word in words
        compose_config([word])


def test_the_default_command_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warm: Warm) -> None:
    words = typed(monkeypatch, settings()[0], command=[])
    assert words[3:] == ["--fusion=sum", "--layer=conv4", "--seed=0"]
    done = warm.run([str(ROOT / "train.py"), *words[3:]], cwd=tmp_path, env={**os.environ}, timeout=200)
    assert done.returncode != 0
    assert "--fusion=sum: did you mean fusion=sum? options are typed as NAME=VALUE, without dashes" in done.stderr


@pytest.mark.long
def test_a_run_that_an_agent_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warm: Warm) -> None:
    """Its folder is named after W&B's run, whose id it has in W&B's files, too."""
    words = [*typed(monkeypatch, settings()[-1])[3:], *FEW]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_RUN_ID": "abc123", "WANDB_SWEEP_ID": "s1"}
    environment.pop("WANDB_SWEEP_PARAM_PATH", None)
    done = warm.run([str(ROOT / "train.py"), *words], cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "wandb" / "abc123"
    results = json.loads((run / "results.json").read_text())
    assert (results["choices"]["fusion"], results["layer"], results["seed"]) == ("conv", ["conv5", "fc8"], 2)
    assert [path.name.endswith("-abc123") for path in run.glob("wandb/offline-run-*")] == [True]
