"""One training in several processes, each with a share of every batch: their ranks, exchanges and shards."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

Value = TypeVar("Value")
SHARDED_FROM = 100_000  # parameters; smaller stages are sharded with the layers around them


def world_size() -> int:
    """Returns how many processes train together, once Lightning has connected them; 1 before."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def of_all_processes(value: Value) -> list[Value]:
    """Returns each process's `value`, in the order of their ranks. All processes have to call it."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


class FullySharded(ModelParallelStrategy):
    """Gives every process a share of the parameters, of their gradients and of the optimizer's state (FSDP2).

    Checkpoints are whole, in one file, as those of any other run are. `gradients` is the
    type as which they are exchanged.
    """

    def __init__(self, *, gradients: str = "float32") -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False)
        self.policy = MixedPrecisionPolicy(reduce_dtype=getattr(torch, gradients))

    def setup_environment(self) -> None:
        self._data_parallel_size = self.world_size
        super().setup_environment()


def shard(network: nn.Module, mesh: Any, policy: MixedPrecisionPolicy) -> None:
    """Spreads the parameters over the processes of a device mesh, stage by stage. A second call changes nothing.

    The parameters of a stage (a chain of layers that is called as a whole) are gathered only while it is computed, as
    `policy` says.
    """
    if isinstance(network, FSDPModule):
        return

    def own(module: nn.Module) -> int:
        """Returns how many parameters would be gathered with this module."""
        inner = sum(own(child) for child in module.children() if not isinstance(child, FSDPModule))
        return inner + sum(parameter.numel() for parameter in module.parameters(recurse=False))

    for module in reversed(list(network.modules())):
        if module is network or (isinstance(module, nn.Sequential) and own(module) >= SHARDED_FROM):
            fully_shard(module, mesh=mesh, mp_policy=policy)


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Returns the `state_dict` on the CPU, whole even if each process has a share of the parameters.

    Only the first process gets it, but all have to call it.
    """
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_whole(module: nn.Module, state: dict[str, Any]) -> None:
    """Loads a whole `state_dict`, also if each process has a share of the parameters."""
    set_model_state_dict(module, state, options=StateDictOptions(full_state_dict=True))
