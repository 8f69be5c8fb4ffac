"""The same fit in several processes: each goes over its share of every block, sums are added up.

Nothing happens here unless `torch.distributed` was initialised, by `torchrun` as a rule. All
processes are given the same rows and the same seed, and end with the same mixture.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from infimix.mixture.blocks import Block


def share(block: Block) -> Block:
    """Rows of a block that are this process's to look at: every n-th of n processes."""
    if not _is_distributed():
        return block
    return block.take(slice(dist.get_rank(), None, dist.get_world_size()))


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over the processes."""
    if not _is_distributed():
        return value
    shared = value.to(_device()).clone()
    dist.all_reduce(shared)
    return shared.to(value.device)


def same(value: Tensor) -> Tensor:
    """The first process's tensor, of any shape, in all processes."""
    if not _is_distributed():
        return value
    size = torch.tensor(value.shape, device=_device())
    dist.broadcast(size, 0)
    shared = value.to(_device()).contiguous()
    if dist.get_rank() > 0 and shared.shape != tuple(size.tolist()):
        shared = shared.new_empty(tuple(size.tolist()))
    dist.broadcast(shared, 0)
    return shared.to(value.device)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _device() -> str:
    """Where the backend wants its tensors."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
