"""RAFT: sizes, batches and settings. How good its fields are depends on weights, which the tests do not have."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from twostream.data.flow import RAFT


def frames(height: int, width: int, count: int = 4) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {i: rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for i in range(count)}


def raft(**options) -> RAFT:
    return RAFT(**{"weights": "random", "iterations": 2, "device": "cpu", **options})


@pytest.mark.parametrize(("height", "width"), [(64, 48), (130, 157)])
def test_any_size_gives_fields_of_that_size(height: int, width: int) -> None:
    """Padded inside to at least 128 and to multiples of 8."""
    [field] = raft().fields(frames(height, width), [(0, 1)]).values()
    assert field.shape == (height, width, 2)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()


def test_a_frame_of_the_networks_own_size_is_what_the_network_says() -> None:
    """RGB in [-1, 1], (u, v) last, nothing padded: 128 x 136."""
    pictures = frames(128, 136, 2)
    flow = raft()
    [field] = flow.fields(pictures, [(0, 1)]).values()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = raft_small(weights=None).eval()
    one, other = (torch.from_numpy(pictures[i]).permute(2, 0, 1)[None].float() / 127.5 - 1 for i in (0, 1))
    with torch.inference_mode():
        expected = network(one, other, num_flow_updates=2)[-1][0].permute(1, 2, 0).numpy()
    assert np.abs(field).max() > 0
    assert np.allclose(field, expected, atol=1e-4)


def test_a_field_is_the_same_in_any_company_and_on_any_threads() -> None:
    pictures, pairs = frames(128, 128), [(0, 1), (1, 2), (2, 3), (2, 2)]
    single, batched = raft(batch_size=1).fields(pictures, pairs), raft(batch_size=3).fields(pictures, pairs)
    in_turn = dict(zip(pairs, raft(batch_size=2).successive(iter(pictures.values())), strict=False))
    assert len(in_turn) == 3
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        [two_threads] = raft().fields(pictures, pairs[:1]).values()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(two_threads, single[0, 1])
    for pair in pairs:
        assert np.array_equal(single[pair], batched[pair])
        assert np.array_equal(in_turn.get(pair, batched[pair]), batched[pair])
    assert not batched[2, 2].any()


def test_successive_pairs_encode_each_frame_once_and_get_the_same_fields(monkeypatch):
    """As on a GPU, where several pairs are computed together: three pairs, then a pair and its repeats."""
    pictures = frames(128, 128, 5)
    alone = list(raft().successive(iter(pictures.values())))
    flow = raft(batch_size=3)
    flow._network, flow._process = flow._create(), os.getpid()  # on the CPU, whatever it is told next
    monkeypatch.setattr(RAFT, "on_gpu", True)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_: self)
    sizes: list[int] = []
    flow._network.feature_encoder.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    for found, wanted in zip(flow.successive(iter(pictures.values())), alone, strict=True):
        assert np.allclose(found, wanted, atol=1e-3)
    assert sizes == [4, 4]


def test_a_gpu_always_computes_whole_batches(monkeypatch) -> None:
    """The last pair again where fewer are left: how many are computed together would show in the last bits."""

    def fields(_, pairs):
        sizes.append(len(pairs))
        return [np.float32(one.flat[0]) for one, _ in pairs]

    sizes: list[int] = []
    flow = raft(batch_size=3)
    monkeypatch.setattr(RAFT, "on_gpu", True)
    monkeypatch.setattr(RAFT, "_fields", fields)
    assert flow.compute_batch([(np.uint8([i]), np.uint8([9])) for i in range(4)]) == [0, 1, 2, 3]
    assert sizes == [3, 3]


def test_half_precision_gives_other_fields_by_another_name() -> None:
    pictures, whole, half = frames(128, 128, 2), raft(), raft(precision="bfloat16")
    one, other = (flow.fields(pictures, [(0, 1)])[0, 1] for flow in (whole, half))
    assert other.dtype == np.float32
    assert 0 < np.abs(one - other).max() < 0.05 * np.abs(one).max()
    assert half.settings() == {**whole.settings(), "precision": "bfloat16"}


def test_settings_name_what_is_in_the_weights_and_not_where_they_are(tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    one, other = (raft(weights=str(tmp_path / name), batch_size=n) for name, n in (("a.pt", 1), ("b.pt", 5)))
    assert one.settings() == other.settings() != raft().settings()
    assert one.settings()["weights"].startswith("sha256:")
    pictures = frames(128, 128, 2)
    field, random = (flow.fields(pictures, [(0, 1)])[0, 1] for flow in (one, raft()))
    assert not np.allclose(field, random)
    assert np.allclose(pickle.loads(pickle.dumps(one)).fields(pictures, [(0, 1)])[0, 1], field)
    with pytest.raises(ValueError, match="no state dict of raft_large"):
        raft(size="large", weights=str(tmp_path / "a.pt")).fields(pictures, [(0, 1)])
    for content in (b"", b"nothing", (tmp_path / "a.pt").read_bytes()[:-100]):
        (tmp_path / "b.pt").write_bytes(content)
        with pytest.raises(ValueError, match="no state dict of raft_small"):
            raft(weights=str(tmp_path / "b.pt")).fields(pictures, [(0, 1)])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": "huge"}, "flow.size='huge'.*choose from small, large"),
        ({"weights": None}, "flow.weights=None.*choose default, random"),
        ({"weights": "nowhere.pt"}, "flow.weights='nowhere.pt': no such file"),
        ({"device": "tpu"}, "flow.device='tpu'.*choose from auto, cpu, cuda"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_wrong_values_are_named(options, named) -> None:
    with pytest.raises(ValueError, match=named):
        raft(**options)
