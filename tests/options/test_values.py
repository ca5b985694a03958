"""Every value of conf/ says what it may be, is checked before anything is built, and stands in --help."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

from twostream.config.compose import compose_config, streams_of
from twostream.config.run import build_run
from twostream.config.saved import change_config
from twostream.config.values import check_choices, check_values, require_folder
from twostream.files.errors import UserError
from twostream.options import Value, conf_folder, examine, read_table, shown
from twostream.options.arguments import Parser, value_of

WRONG: list[Any] = [
    *("abc", "", " ", "-1", "1,2", "../x", "x" * 300, "a\0b", "true", "null", "nan"),
    *(-1, 0, 5, 1.5, -0.5, 10**10, -(10**10), 10**400, 1e-300, 1e300, math.nan, math.inf, -math.inf),
    *(None, True, False),
    *([], [None], [-1], ["abc"], [1, 2, 3], [math.nan, 1], [[1]], [True, False], {}, {"abc": 1}),
]
CHANNELS = {
    "fusion": (8, 8),
    "align": ((8, 4, 4), (6, 2, 2)),
    "pooling": (8,),
    "attention": (8,),
}  # what layers are made for


def values_of(options: Any) -> Iterator[Value]:
    for value in options.values():
        if isinstance(value, Value):
            yield value
        else:
            yield from values_of(value)


TABLE = [(target, value) for target, options in read_table().items() for value in values_of(options)]


def test_every_value_in_conf_has_a_rule_that_its_default_keeps_and_a_comment() -> None:
    assert len(TABLE) > 200
    for target, value in TABLE:
        default = yaml.safe_load(value.default)
        if "${" not in str(default):  # that of another option, which has a rule of its own
            assert value.rule.read(default) == default, (target, value)
        assert value.comment.partition(";")[2].strip(), f"{target} {value.name}: say in a few words what it is"


def findings(target: str, name: str, value: Any) -> list[Any]:
    """What is found out about a configuration with this one value."""
    nested: Any = value
    for key in reversed(name.split(".")):
        nested = {key: nested}
    return list(examine({"group": {"_target_": target, **nested}} if target else nested))


def allowed(rule: str, value: Any) -> bool:
    """Whether a rule is meant to let a value of `WRONG` through; said without the code that reads rules."""
    kinds = rule.split(" | ")
    listed = [kind.removeprefix("list of ") for kind in kinds if kind.startswith("list of ")]
    if isinstance(value, str):
        is_path = "path" in kinds and len(value) < 256 and "\0" not in value
        return value.strip() != "" and ("text" in kinds or is_path)
    if value is None or isinstance(value, bool):
        return shown(value) in kinds
    if isinstance(value, list):
        starts = ("whole >= 1", "whole >= 0", "number >= 0")
        whole = [kind for kind in listed if kind.startswith(starts) or kind == "number > 0"]
        text = "text" in listed or ("them" in listed and "text" in kinds)
        return "[]" in kinds if not value else text if value == ["abc"] else value == [1, 2, 3] and bool(whole or text)
    if isinstance(value, dict) or not (isinstance(value, int) or math.isfinite(value)):
        return False
    if isinstance(value, int) and value >= 0 and ("text" in kinds or ("path" in kinds and value < 10**255)):
        return True
    return shown(value) in kinds or any(holds(kind, value) for kind in kinds)


def holds(kind: str, value: float) -> bool:
    word, _, limits = kind.partition(" ")
    if word not in ("whole", "number") or (word == "whole" and isinstance(value, float)) or abs(value) > 4294967295:
        return False
    return all(eval(f"{value!r} {limit}") for limit in limits.split(", ") if limit)


def test_every_value_with_every_wrong_value() -> None:
    """One line with name, value and what is allowed; or the rule lets it through."""
    refused = accepted = 0
    for target, value in TABLE:
        for wrong in WRONG:
            [(name, meant, error)] = findings(target, value.name, wrong)
            if allowed(value.comment.partition(";")[0], wrong):
                assert error is None, (target, wrong, error)
                assert meant == wrong or meant == str(wrong) or meant == [str(part) for part in wrong]
                accepted += 1
                continue
            assert error is not None, (target, value.name, wrong)
            error = re.sub(r": did you mean [^?]+\? ", ": ", error)
            assert error.startswith(f"{name}={shown(wrong)}: must be ") or (
                error.startswith(f"{name}={shown(wrong)}: choose from ")
            )
            assert len(error) < 300
            refused += 1
    print(f"{len(TABLE)} values x {len(WRONG)}: {refused} refused, {accepted} allowed")
    assert refused + accepted == len(TABLE) * len(WRONG)
    assert refused > 6 * accepted


def choices_of(value: Value) -> Iterator[Any]:
    """The choices that a rule names, the lowest and the largest number that it gives."""
    for kind in value.comment.partition(";")[0].split(" | "):
        word, _, limits = kind.partition(" ")
        if word in ("whole", "number"):
            numbers = [limit.split() for limit in limits.split(", ") if limit]
            yield from (yaml.safe_load(number) for sign, number in numbers if "=" in sign and float(number) < 1e4)
        elif word not in ("path", "text", "list", "two", "random", "default", "cuda"):
            yield yaml.safe_load(kind)


@pytest.mark.parametrize("group", ["fusion", "align", "pooling", "attention", "flow", "sampling", "transform"])
def test_what_a_rule_allows_can_be_built(group: str) -> None:
    """Each choice, and the lowest number, of every value, with the others as they are."""
    built = 0
    for file in sorted((conf_folder() / group).glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(file))
        content = {key: value for key, value in (content or {}).items() if key != "store"}
        if "_target_" not in content or (file.stem == "tvl1" and not hasattr(pytest.importorskip("cv2"), "optflow")):
            continue
        for value in values_of(read_table().get(content["_target_"], {})):
            for literal in () if value.name == "store" else choices_of(value):
                changed = {**content, value.name: literal}
                if (value.name, literal) in (("kernel", 2), ("stride", 1), ("scale", True)):
                    changed |= {"kernel": {"stride": 1}, "stride": {}, "scale": {"mode": "gaussian"}}[value.name]
                made = instantiate(changed)
                if group in CHANNELS and "level" not in content:
                    made(*CHANNELS[group])
                built += 1
    assert built


ISSUE = (
    "accumulate=-1 epochs=-1 allow_leak=abc two_towers=abc label_smoothing=-1 gradient_clip=-1 log_every=0 "
    "optimizer.weight_decay=-1 schedule.warmup_epochs=-1 layer=5 layer=null streams=null streams=[] "
    "nonfinite=abc epochs=abc batch_size=-1 test_batch_size=-1 checkpoint_minutes=abc num_workers=abc "
    "optimizer.learning_rate=abc optimizer.learning_rate=-1 dropout.rgb=abc validation_fraction=abc ema=abc "
    "decode_timeout=abc backbone.width=abc flow.length=abc transform.size=abc trainer.devices=abc "
    "data.train_clips=abc data.frames=abc init.rgb=-1 dropout=abc init=5 transform.colour=null precision=x "
    "deterministic=1 seed=1e3 gradient_clip=nan ema=inf batch_size=[1,2]"
)


def test_wrong_overrides_are_named_when_composed() -> None:
    cfg = compose_config([])
    for word in ISSUE.split():
        override = OverridesParser.create().parse_override(word)
        typed = copy.deepcopy(cfg)
        OmegaConf.update(typed, override.get_key_element(), override.value(), merge=False)
        with pytest.raises(ValueError, match=r": (must be|choose from|has values)") as found:
            check_values(typed)
        assert str(found.value).startswith(f"{word.replace('1e3', '1000.0')}: ")
        assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match=r"^epochs=-1: must be a whole number of at least 0, or auto$"):
        compose_config(["epochs=-1"])


def test_null_and_names_that_are_numbers_mean_something() -> None:
    cfg = compose_config(
        ["attention_after=null", "data=folder", "data.root=2024", "data.classes=[5,6]", "streams=flow"]
    )
    assert (cfg.data.root, cfg.data.classes, cfg.attention_after) == ("2024", ["5", "6"], None)
    assert streams_of(cfg) == ("flow",)


def test_a_group_has_an_option_by_name() -> None:
    for word in ("optimizer=null", "optimizer=5", "backbone@flow_backbone=true"):
        with pytest.raises(ValueError, match=rf"^{word}: choose from (adamw|googlenet), "):
            compose_config([word])
    with pytest.raises(ValueError, match=r"^optimizer=null: choose from adamw, finetune, sgd$"):
        check_choices(["-m", "optimizer=sgd,null", "data.root=x"])


def test_what_is_wrong_is_told_before_the_data_set_is_looked_for(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("twostream.config.run.build_source", lambda cfg: pytest.fail("looked for"))
    for word, told in (
        ("init.rgb=ABSENT", "init.rgb=ABSENT: must be a checkpoint, or a run folder with checkpoints/best.ckpt"),
        ("backbone.weights=ABSENT", "weights='ABSENT': no such file; choose from null, the path of a file"),
        ("flow.store=ABSENT", "ABSENT: no flow store"),
        ("sampling.stride=[5,2]", "stride=\\[5, 2\\]: must be two whole numbers, 1 <= lowest <= highest"),
    ):
        with pytest.raises(UserError, match=f"^{told}"):
            build_run(compose_config([word, "logger=csv"]), tmp_path)


def test_what_the_users_own_classes_take_is_theirs_to_check() -> None:
    words = ["fusion._target_=mylab.Gated", "fusion.init=[1,2]", "+fusion.gates=-1", "+trainer.max_steps=7"]
    assert compose_config(words).fusion.init == [1, 2]


def test_settings_of_an_evaluation_are_checked_and_the_run_is_not() -> None:
    cfg = OmegaConf.merge(compose_config([]), {"epochs": "of an older version"})
    assert change_config(cfg, ["num_workers=2"]).num_workers == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decode_timeout=abc: must be a number above 0, or null"):
        change_config(cfg, ["decode_timeout=abc"])  # type: ignore[arg-type]


def test_two_rules_for_a_value_of_one_target_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    for name, rule in (("a", "whole"), ("b", "number")):
        (tmp_path / "group" / f"{name}.yaml").write_text(f"_target_: x.Y\nz: 1  # {rule}; z\n")
    with pytest.raises(ValueError, match=r"b.yaml: z: another rule than elsewhere for x.Y: 'whole; z'"):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^hydra.run.dir=.*; must be a folder that can be made, or written to$"
    ) as told:
        require_folder("hydra.run.dir", tmp_path / name)
    assert len(str(told.value)) < 250


def test_arguments_of_commands(capsys) -> None:
    parser = Parser("twostream x")
    parser.add_argument("--classes", type=value_of("whole >= 1"))
    parser.add_argument("--kind", choices=("a", "b"))
    assert parser.parse_args(["--classes", "3"]).classes == 3
    for typed, told in (
        (["--classes", "-1"], "error: --classes -1: must be a whole number of at least 1; see twostream x --help"),
        (["--classes", "nan"], "error: --classes nan: must be a whole number of at least 1; see twostream x --help"),
        (["--kind", "c"], "error: --kind c: choose from a, b; see twostream x --help"),
    ):
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args(typed)
        assert stopped.value.code == told
    assert capsys.readouterr().err == ""
