"""Parts and layers of a model, for parameter groups with learning rates of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import timm.models
from torch import nn

__all__ = ["layers_of", "two_parts", "with_layer_decay", "without"]

Part = tuple[list[nn.Parameter], float]  # parameters and learning rate


def two_parts(
    model: nn.Module,
    pretrained: Sequence[nn.Module],
    names: tuple[str, str] = ("encoder", "decoder"),
) -> dict[str, list[nn.Parameter]]:
    """Divide the parameters of a model into those of some of its modules, and the others."""
    first = {id(p): p for module in pretrained for p in module.parameters()}
    others = [p for p in model.parameters() if id(p) not in first]
    return {names[0]: list(first.values()), names[1]: others}


def without(model: nn.Module, left_out: Sequence[nn.Module]) -> nn.Module:
    """Return a module with all parameters and submodules of a model but some, which it shares.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    >>> [parameter.shape for parameter in without(model, [model[1][1]]).parameters()]
    [torch.Size([3, 4]), torch.Size([3])]
    """
    rest = nn.Module()
    outer = [model]  # modules that hold one of those to leave out
    for name, module in model.named_modules():
        if module in left_out or (name and module not in outer):
            continue
        for key, parameter in module.named_parameters(name.replace(".", "_"), recurse=False):
            rest.register_parameter(key.replace(".", "_"), parameter)
        for key, child in module.named_children():
            inside = [*child.modules()]
            if child in left_out:
                continue
            if any(each in inside for each in left_out):
                outer.append(child)
            else:
                rest.add_module(f"{name}_{key}".replace(".", "_").lstrip("_"), child)
    return rest


def with_layer_decay(
    name: str, parameters: Sequence[nn.Parameter], lr: float, *, model: nn.Module, decay: float
) -> dict[str, Part]:
    """Divide a part of a model into its layers, the last of which has ``decay`` times the rate.

    Each earlier layer has ``decay`` times the rate of the one after it (Clark et al., ELECTRA,
    arXiv:2003.10555; Bao et al., BEiT, arXiv:2106.08254, for images).

    Args:
        name: Name of the part.
        parameters: Its parameters.
        lr: Learning rate of the part that follows it, as a multiple of which the layers' rates are
            computed.
        model: The model that the parameters are in.
        decay: Above 0, at most 1.

    Returns:
        Parameters and rate by name, ``<part>/layer0`` being the nearest to the image; the numbers
        have as many digits as the largest one, so that sorting by name sorts by depth.
    """
    layers = layers_of(model, parameters)
    count = max(layers.values(), default=-1) + 1
    digits = len(str(count - 1))
    parts: dict[str, Part] = {}
    for layer in range(count):
        inside = [p for p in parameters if layers[id(p)] == layer]
        parts[f"{name}/layer{layer:0{digits}}"] = (inside, lr * decay ** (count - layer))
    return parts


def layers_of(model: nn.Module, parameters: Iterable[nn.Parameter]) -> dict[int, int]:
    """Number the layers of a part of a model, from the image to the output.

    timm's models know their layers (``group_matcher``). In others, a layer is a numbered block, or
    a module at the top whose parameters are not all scales and biases.

    Returns:
        The layer of each parameter, by its ``id``.
    """
    wanted = {id(p): p for p in parameters}
    known: dict[int, Any] = {}
    for module in model.modules():
        matcher = getattr(module, "group_matcher", None)
        if callable(matcher):
            by_name = timm.models.group_parameters(module, matcher(coarse=False), reverse=True)
            known = {id(p): by_name[name] for name, p in module.named_parameters()}
            break
    if not known.keys() & wanted.keys():
        known = _by_name(model, wanted)
    last = max(known[key] for key in wanted if key in known)
    numbers = {key: known.get(key, last) for key in wanted}
    ranks = {number: rank for rank, number in enumerate(sorted(set(numbers.values())))}
    return {key: ranks[number] for key, number in numbers.items()}


def _by_name(model: nn.Module, wanted: dict[int, nn.Parameter]) -> dict[int, int]:
    """Number layers in the order of their names."""
    names = {id(p): name.split(".") for name, p in model.named_parameters() if id(p) in wanted}
    shared = 0  # depth of the modules that all of them are in
    while len({name[shared] if len(name) > shared + 1 else None for name in names.values()}) == 1:
        shared += 1
        if any(len(name) <= shared + 1 for name in names.values()):
            break
    layers: dict[int, int] = {}
    matrices: dict[str, bool] = {}
    for key, name in names.items():
        layer = _block(name[shared:])
        matrices[layer] = matrices.get(layer, False) or wanted[key].ndim > 1
    number, numbers = -1, {}
    for layer, has_matrix in matrices.items():
        number += has_matrix or number < 0  # a norm belongs to the layer before it
        numbers[layer] = number
    for key, name in names.items():
        layers[key] = numbers[_block(name[shared:])]
    return layers


def _block(name: list[str]) -> str:
    """Return the name of the block: ``blocks.3`` of ``blocks.3.0.conv.weight``."""
    first, *rest = name
    numbered = bool(rest) and bool(re.fullmatch(r"\d+", rest[0])) and not re.search(r"\d$", first)
    return f"{first}.{rest[0]}" if numbered else first
