"""What `pytest -m matrix` has found, each in a second: refusals in one line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.run import build_run, check_device
from twostream.config.values import check_choices
from twostream.evaluation.evaluate import accelerator_of
from twostream.evaluation.plan import Plan
from twostream.files.errors import UserError


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("fusion=null", "fusion=null: choose from attention, bilinear"),
        ("backbone@flow_backbone=null", "vgg_m; or leave it out"),
        ("experiment=null", "or leave it out"),
        ("logger=null", "logger=null: choose from csv, tensorboard, wandb"),
        ("optimizer=[adamw,sgd]", "choose from adamw, finetune, sgd"),
        ("backbone@flow_backbone=[tiny]", "choose from googlenet"),
    ],
)
def test_a_group_without_an_option_or_with_several(word: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"choose from") as caught:
        compose_config([word])
    assert told in str(caught.value)


def test_what_a_group_may_be() -> None:
    check_choices(
        [
            "logger=[wandb,tensorboard]",
            "fusion=sum,max",
            "weights=null",
        ]
    )


def test_what_this_machine_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for words, told in (
        (["precision=16-mixed"], "precision=16-mixed: is for GPUs; on a CPU choose precision=bf16-mixed or 32-true"),
        (["trainer=gpu"], "accelerator=gpu: PyTorch finds no GPU on this machine; choose cpu"),
    ):
        with pytest.raises(UserError) as caught:
            build_run(compose_config([*words, "data.root=never_made"]), tmp_path)
        assert told in str(caught.value)
    check_device("auto", "bf16-mixed", "auto")
    with pytest.raises(ValueError, match="devices=-1: on a CPU choose a number of processes"):
        check_device("auto", "32-true", -1)
    cfg = compose_config(["precision=16-mixed"])  # of a GPU, evaluated here
    with pytest.raises(ValueError, match="is for GPUs"):
        check_device(accelerator_of(Plan(), cfg), Plan().precision or cfg.precision)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("auto", "16-mixed")
    with pytest.raises(ValueError, match="is for GPUs"):
        check_device("cpu", "16-mixed")
