"""Small networks of the 32 tasks on which the short trainings of the range test were designed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from _pretrained import weights_file
from torch import Tensor, nn


def norm(kind: str | None, channels: int) -> list[nn.Module]:
    """``"batch"`` or ``"group"``, or none."""
    if kind is None:
        return []
    return [nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(4, channels)]


def cnn(
    inputs: int,
    outputs: int,
    kind: str | None = None,
    widths: Sequence[int] = (16, 32),
    dropout: float = 0.0,
) -> nn.Module:
    """Convolutions with pooling, then a linear layer on 2 x 2 positions."""
    layers: list[nn.Module] = []
    for width in widths:
        conv = nn.Conv2d(inputs, width, 3, padding=1)
        layers += [conv, *norm(kind, width), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = width
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, *head, nn.Linear(4 * inputs, outputs))


class Residual(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.inner(inputs) + self.short(inputs))


def resnet(inputs: int, outputs: int, width: int = 16) -> nn.Module:
    """Three residual blocks."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Residual(width, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, outputs),
    )


class Transformer(nn.Module):
    """Pre-norm layers on embedded tokens, which begin alike."""

    def __init__(
        self, embed: nn.Module, tokens: int, width: int, outputs: int,
        depth: int, dropout: float = 0.0, causal: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed, self.causal = embed, causal
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout, F.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, depth, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs)
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        count = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(count) if self.causal else None
        found = self.layers(tokens + self.place, mask=mask, is_causal=self.causal)
        return self.head(found).transpose(1, 2) if self.causal else self.head(found.mean(1))


def vit(inputs: int, outputs: int, side: int, patch: int, dropout: float = 0.0) -> nn.Module:
    """A vision transformer of three layers."""
    embed = nn.Conv2d(inputs, 48, patch, patch)
    return Transformer(embed, (side // patch) ** 2, 48, outputs, 3, dropout)


def gpt(vocabulary: int) -> nn.Module:
    """A causal transformer of two layers over 48 characters."""
    embed = nn.Embedding(vocabulary, 64)
    nn.init.normal_(embed.weight, std=0.02)
    return Transformer(embed, 48, 64, vocabulary, 2, causal=True)


class UNet(nn.Module):
    """Two levels down and up."""

    def __init__(self, inputs: int, outputs: int, kind: str | None, width: int = 12) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Module:
            layers: list[nn.Module] = []
            for channels in (before, after):
                layers += [nn.Conv2d(channels, after, 3, padding=1), *norm(kind, after), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(
            [block(inputs, width), block(width, 2 * width), block(2 * width, 4 * width)]
        )
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        fine = self.down[0](inputs)
        middle = self.down[1](F.max_pool2d(fine, 2))
        found = self.down[2](F.max_pool2d(middle, 2))
        for block, beside in zip(self.up, (middle, fine), strict=True):
            found = block(torch.cat([F.interpolate(found, scale_factor=2.0), beside], 1))
        return self.head(found)


def heat_map(kind: str) -> nn.Module:
    """A quarter of the size: a map that begins near zero, and width and height."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 48, 1), (48, 48, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), *norm(kind, after), nn.ReLU()]
    head = nn.Conv2d(48, 3, 1)
    assert head.bias is not None
    nn.init.constant_(head.bias, -2.0)
    return nn.Sequential(*layers, head)


# -- pretrained ------------------------------------------------------------------------------------


@functools.cache
def _weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0, which come in timm's order under other names."""
    import timm

    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    values = torch.load(weights_file(), map_location="cpu", weights_only=True).values()
    return dict(zip(names, values, strict=True))


def _encoder(levels: Sequence[int]) -> nn.Module:
    import timm

    weights = _weights()
    net: nn.Module = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, out_indices=tuple(levels)
    )
    net.load_state_dict({name: weights[name] for name in net.state_dict()})
    return net


class Tuned(nn.Module):
    """A classifier of images enlarged to 64 x 64 on the pretrained encoder."""

    def __init__(self, outputs: int, frozen: bool = False) -> None:
        super().__init__()
        self.encoder, self.frozen = _encoder(range(5)), frozen
        self.head = nn.Linear(320, outputs)

    def train(self, mode: bool = True) -> Tuned:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        large = F.interpolate(inputs, size=64, mode="bilinear", align_corners=False)
        return self.head(self.encoder(large)[-1].mean((2, 3)))


class TunedUNet(nn.Module):
    """Masks at 32 x 32 from images enlarged to 64 x 64 for the pretrained encoder."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.encoder = _encoder(range(4))

        def block(before: int, after: int) -> nn.Module:
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())

        self.up = nn.ModuleList([block(112 + 40, 48), block(48 + 24, 32), block(32 + 16, 24)])
        self.head = nn.Conv2d(24, outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        large = F.interpolate(inputs, size=64, mode="bilinear", align_corners=False)
        *beside, found = self.encoder(large)
        for block, finer in zip(self.up, reversed(beside), strict=True):
            found = block(torch.cat([F.interpolate(found, scale_factor=2.0), finer], 1))
        return self.head(found)
