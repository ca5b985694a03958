"""start=probe: classifiers of every kind of network start from logistic regression on what they get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.run import PROBE_VIEWS, build_run
from twostream.files.errors import UserError
from twostream.models.backbone import tiny
from twostream.models.network.heads import classifiers
from twostream.probe.features import HeadFeatures, head_features, per_video
from twostream.probe.logistic import fit_linear
from twostream.probe.start import StartFromProbe
from twostream.training.recovery import fit

FEW = ["data.train_clips=48", "data.test_clips=16", "num_workers=0", "logger=csv", "batch_size=16", "transform.size=32"]
NETWORKS = {
    "rgb": ["streams=rgb"],
    "late": ["fusion=sum", "layer=softmax"],
    "fused": ["layer=conv3"],
    "two towers": ["layer=[conv5,fc8]", "pooling=gap"],
    "levels": ["fusion=multilevel", "layer=[conv3,conv5]"],
    "flow, over time": ["streams=flow", "sampling.num_chunks=2", "temporal=conv3d"],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.manual_seed(0)
    torch.save(tiny(3, 4).state_dict(), path)
    return path


def probed(folder: Path, weights: Path, *words: str):
    run = build_run(compose_config([*FEW, f"backbone.weights={weights}", "start=probe", "epochs=1", *words]), folder)
    [probe] = [callback for callback in run.trainer.callbacks if isinstance(callback, StartFromProbe)]
    return run, probe


@pytest.mark.long
@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
def test_scores_are_those_of_the_regression(words, tmp_path: Path, weights: Path) -> None:
    """A head's scores of a video in fixed views = the regression's, on features that a hook of our own has seen."""
    run, probe = probed(tmp_path, weights, *words)
    network = run.system.network
    fixed, loader = probe.videos, run.data.fixed_loader(probe.videos)
    assert fixed[0, 0].first.shape[0] == PROBE_VIEWS
    probe.fit(run.system, loader)
    features = per_video([head_features(network, loader)])
    labels = np.array([video.label for video in fixed.videos])
    network.eval()
    with torch.no_grad():
        heads = torch.cat([run.system(clip)[0] for clip in loader], dim=1).double().numpy()
    for head, name in enumerate(classifiers(network)):
        groups = [video.group for video in fixed.videos]
        expected = fit_linear(features.inputs[name], labels, groups, num_classes=16).scores(features.inputs[name])
        np.testing.assert_allclose(heads[head], expected, atol=2e-3 * np.abs(expected).max())


def test_training_views_are_mirrored_where_test_views_are(tmp_path: Path, weights: Path) -> None:
    """A classifier that had seen views of one side alone would be tested on mirrored flow, which looks otherwise."""
    for word in ("transform.test_flip=true", "transform.test=ten"):
        run, probe = probed(tmp_path, weights, "data.mirror=true", word)
        rgb, flow = probe.videos[0, 0].first, probe.videos[0, 0].second
        assert len(rgb) == 2 * PROBE_VIEWS
        assert torch.equal(rgb[PROBE_VIEWS:], rgb[:PROBE_VIEWS].flip(-1))
        assert torch.equal(flow[PROBE_VIEWS:, :, 1::2], flow[:PROBE_VIEWS, :, 1::2].flip(-1))  # v; u changes its sign
    for words in (["data.mirror=true", "transform.test_flip=false"], ["data.mirror=false", "transform.test_flip=true"]):
        run, probe = probed(tmp_path, weights, *words)
        assert len(probe.videos[0, 0].first) == PROBE_VIEWS
        assert len(run.data.test_set[0, 0].first) == run.data.test_set.sampling.test_views


def test_every_head_is_found() -> None:
    names = {}
    for kind, words in NETWORKS.items():
        network = build_run_network(words)
        names[kind] = list(classifiers(network))
    assert [len(found) for found in names.values()] == [1, 2, 1, 2, 2, 1]
    assert names["levels"] == ["heads.0.classifier", "heads.1.classifier"]


def build_run_network(words: list[str]):
    from twostream.config.network import build_network

    return build_network(compose_config([*FEW, *words]), num_classes=16, meta=True)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_goes_on_from_it_and_a_checkpoint_knows_it(tmp_path: Path, weights: Path, precision: str) -> None:
    words = ["streams=flow", "optimizer.learning_rate=1e-9", "dropout.rgb=0", f"precision={precision}"]
    run, probe = probed(tmp_path, weights, *words)
    autocast: set[bool] = set()
    run.system.network.register_forward_hook(lambda *_: autocast.add(torch.is_autocast_enabled("cpu")))
    fit(run.trainer, run.system, run.data, None)
    assert autocast == {precision == "bf16-mixed"}  # the probe's passes, too
    again, _ = probed(tmp_path / "again", weights, "streams=flow")
    [metrics] = run.trainer.test(run.system, run.data, verbose=False)
    assert metrics["test/top1"] == pytest.approx(probe.accuracy["top1"])  # nothing else has changed the network
    assert metrics["test/mean_class"] == pytest.approx(probe.accuracy["mean_class"])
    assert metrics["test/macro_f1"] == pytest.approx(probe.accuracy["macro_f1"])
    assert metrics["test/loss"] == pytest.approx(probe.accuracy["loss"], rel=1e-4)
    resumed = StartFromProbe(again.data.train_set, again.data.test_set)
    resumed.load_state_dict(probe.state_dict())
    assert resumed.accuracy == probe.accuracy


def test_views_are_averaged_whoever_had_them() -> None:
    one = HeadFeatures(np.array([2, 0]), {"a": np.array([[1.0, 1.0], [5.0, 5.0]])})
    other = HeadFeatures(np.array([2]), {"a": np.array([[3.0, 0.0]])})
    mean = per_video([one, other])
    assert mean.index.tolist() == [0, 2]
    assert mean.inputs["a"].tolist() == [[5.0, 5.0], [2.0, 0.5]]


def test_test_videos_do_not_change_it(tmp_path: Path, weights: Path) -> None:
    run, probe = probed(tmp_path / "a", weights, "streams=rgb")
    probe.fit(run.system, run.data.fixed_loader(probe.videos))
    before = run.system.network.rgb.backbone.classifier.weight.clone()
    run, probe = probed(tmp_path / "b", weights, "streams=rgb", "data.test_clips=32")
    probe.fit(run.system, run.data.fixed_loader(probe.videos))
    assert torch.equal(before, run.system.network.rgb.backbone.classifier.weight)


def test_shares_of_a_classifier_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UserError, match=r"start=probe: .*trainer=fsdp"):
        probed(tmp_path, weights, "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1")
