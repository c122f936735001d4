"""Several processes, on one machine or many, that train one network together.

`torchrun` starts them and tells each its rank. Every process computes its share of each
mini-batch; their gradients are averaged, so that all networks stay equal.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: number of this process; 0 writes the files.
        size: number of processes.
        local_rank: number of this process on its machine, which chooses its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            distributed.barrier()

    def average(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.size
        parts = together.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, value: Tensor) -> float:
        """Mean of a number over the processes."""
        if self.size == 1:
            return float(value.detach())
        total = value.detach().clone()
        distributed.all_reduce(total)
        return float(total) / self.size

    def share(self, value: Value) -> Value:
        """What rank 0 gives, for all processes."""
        box = [value]
        if self.size > 1:
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_first(self, network: nn.Module) -> None:
        """Give every process the parameters and buffers of rank 0."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                distributed.broadcast(tensor, src=0)


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` started; without it a process is alone.

    Args:
        device: "cuda" communicates through NCCL, anything else through Gloo.

    Yields:
        The world, which is left at the end.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    # Its functions take the group that exists when they are imported for their default, and the
    # optimiser imports them: imported later they would keep the group and its threads alive until
    # the interpreter ends, which those threads can abort.
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        local_rank = int(os.environ["LOCAL_RANK"])
        if device == "cuda":
            torch.cuda.set_device(local_rank)
        yield World(distributed.get_rank(), size, local_rank)
    finally:
        distributed.destroy_process_group()
