"""Batches that a loader will yield: the smallest of an epoch, and repeated samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DistributedSampler

__all__ = ["counted_samples", "norms_of_one_pixel", "smallest_batch"]


def smallest_batch(loader: object, batches: float) -> int | None:
    """Return the size of the smallest of an epoch's ``batches``; None if it cannot be known.

    >>> from torch.utils.data import DataLoader
    >>> smallest_batch(DataLoader(range(9), batch_size=4), batches=3)
    1
    """
    sampler = getattr(_alone(loader), "batch_sampler", None)
    if not isinstance(sampler, BatchSampler):
        return None
    try:
        total = len(sampler.sampler)  # type: ignore[arg-type]
    except TypeError:
        return None
    full, rest = divmod(total, sampler.batch_size)
    if rest and not sampler.drop_last and batches > full:
        return rest
    return sampler.batch_size


def counted_samples(loader: object) -> int | None:
    """Return how many samples of a loader, from the first, to count; None for all of them.

    A ``DistributedSampler`` gives all processes the same number of samples: some get samples from
    the start of the set, a second time, as their last ones.
    """
    loader = _alone(loader)
    batches = getattr(loader, "batch_sampler", None)
    sampler = getattr(loader if batches is None else batches, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return None
    repeated = sampler.total_size - len(sampler.dataset)  # type: ignore[arg-type]
    return sampler.num_samples - (sampler.rank >= sampler.num_replicas - repeated)


def _alone(loader: object) -> object:
    """Return the only loader of a list or dict of loaders; other loaders as they are."""
    loader = getattr(loader, "iterables", loader)  # of Lightning's CombinedLoader
    if isinstance(loader, Mapping):
        loader = [*loader.values()]
    if isinstance(loader, (list, tuple)) and len(loader) == 1:
        return _alone(loader[0])
    return loader


@contextmanager
def norms_of_one_pixel(model: nn.Module) -> Iterator[list[str]]:
    """Collect the batch normalisations that see one pixel per image while the model runs.

    A batch of one image has no variance there.
    """
    found: list[str] = []

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training and inputs[0].shape[2:].numel() == 1:
                found.append(name)

        return hook

    handles = [
        module.register_forward_pre_hook(hook_for(name))
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
