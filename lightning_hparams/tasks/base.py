"""Shared by all tasks: optimizer, named parameter groups, freezing, compilation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from typing_extensions import Self

from ..checks import as_plain, in_range, mapping_in, one_of, truth, whole_number
from ..notices import warn_user
from ..optim import check_optimizer, make_optimizer, named_groups
from ..plain_hparams import PlainHparams, plain
from ._averaging import TwoWeights, keep_counters
from ._export import ExportableTask
from ._freezing import has_finetuning, norms_within, train_what_is_optimized, wrap_again
from ._loaders import norms_of_one_pixel, smallest_batch
from ._parts import two_parts, with_layer_decay

__all__ = ["Freeze", "VisionTask", "two_parts"]

Freeze = Literal["none", "encoder"]

_NAMES = ("arch", "model", "encoder")  # arguments of tasks that name the model


class VisionTask(PlainHparams, ExportableTask):
    """A model with its optimizer and the normalisation of its input.

    Args:
        model: Takes normalised images. A submodule ``encoder`` is its pretrained part; a task for
            models without one overrides :attr:`backbone` or :meth:`model_parts`.
        mean: Mean of each image channel, in units of 0..1.
        std: Standard deviation of each image channel, in units of 0..1, above 0.
        optimizer: Name of a class in ``torch.optim``; or, with the extra ``optimizers`` installed,
            AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree or Prodigy. Give these the ``lr``
            that their authors recommend: 0.0025 for the first two, 1 for the others.
        optimizer_args: Further arguments of the optimizer (``momentum``, ``betas``, ...).
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default.
        encoder_lr_mult: The learning rate of the pretrained part as a multiple of ``lr``, above 0.
        layer_decay: The learning rate of each layer of the pretrained part as a multiple of that of
            the next one, above 0; 1 for one rate. Its parameter groups are named by layer then.
        freeze: ``"encoder"`` does not train the pretrained part, and keeps the statistics of its
            batch normalisations.
        unfreeze_at: First epoch in which it is trained after all, at least 1; None for never. Its
            parameters are in the optimizer from the start, so a run can be resumed at any epoch.
        compile: Compile the model with ``torch.compile``. Checkpoints stay the same.
        grad_checkpointing: Compute activations of the pretrained part again in the backward pass
            instead of storing them, which takes less memory and more time. For models of timm.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: list[float],
        std: list[float],
        optimizer: str = "AdamW",
        optimizer_args: Mapping[str, object] | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        encoder_lr_mult: float = 1.0,
        layer_decay: float = 1.0,
        freeze: Freeze = "none",
        unfreeze_at: int | None = None,
        compile: bool = False,  # as torch names it
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(mean, std)
        lr, weight_decay = as_plain(lr), as_plain(weight_decay)
        encoder_lr_mult, layer_decay = as_plain(encoder_lr_mult), as_plain(layer_decay)
        optimizer_args = mapping_in("optimizer_args", optimizer_args)
        check_optimizer(optimizer, lr, weight_decay, optimizer_args)
        in_range("encoder_lr_mult", encoder_lr_mult, above=0.0, below=math.inf)
        in_range("layer_decay", layer_decay, high=1.0, above=0.0, remedy="0.75 is usual")
        _check_freezing(freeze, unfreeze_at)
        if optimizer == "Prodigy" and (encoder_lr_mult, layer_decay) != (1.0, 1.0):
            raise ValueError(
                "Prodigy takes one rate for all groups, got "
                f"encoder_lr_mult={encoder_lr_mult}, layer_decay={layer_decay}; leave both at 1"
            )
        self.model = model
        self._two_weights = TwoWeights()
        if truth("grad_checkpointing", grad_checkpointing):
            _checkpoint_gradients(model)
        if truth("compile", compile):
            model.compile()  # unlike torch.compile(model), it leaves names and copies as they are
        self._optimizer = optimizer
        self._optimizer_args = plain(optimizer_args)
        self._weight_decay = weight_decay
        self._encoder_lr_mult, self._layer_decay = encoder_lr_mult, layer_decay
        self._freeze, self._unfreeze_at, self._frozen = freeze, unfreeze_at, False
        self.lr = lr  # a plain attribute, as Lightning's tuner and the range test expect it

    @property
    def backbone(self) -> nn.Module:
        """The part of the model that pretrained weights are for, where Lightning looks for it.

        It is the whole model if that has no such part.
        """
        encoder = getattr(self.model, "encoder", None)
        return encoder if isinstance(encoder, nn.Module) else self.model

    def model_parts(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Return the parameters of each part of the model, by the name of its parameter groups.

        The first part is the one that pretrained weights are for, the last one is the rest.
        """
        backbone = self.backbone
        return two_parts(self.model, [] if backbone is self.model else [backbone])

    def attached_trainer(self) -> Trainer | None:
        """Return the Trainer; None if a method is called without one."""
        try:
            return self.trainer
        except RuntimeError:
            return None

    def first_pass(self, *inputs: Any) -> Any:
        """Call the task with the first batch of a run.

        Raises:
            ValueError: If batch normalisation over single pixels makes batches of one image
                impossible, and a later batch will be one.
        """
        with norms_of_one_pixel(self.model) as norms:
            output = self(*inputs)
        trainer = self.attached_trainer()
        if trainer is None:
            return output
        if norms and smallest_batch(trainer.train_dataloader, trainer.num_training_batches) == 1:
            raise self.one_image_error()
        return output

    def one_image_error(self) -> ValueError:
        """Return the error for a training batch of one image."""
        named = [f"{key} {self.hparams[key]!r}" for key in _NAMES if key in self.hparams]
        return ValueError(
            "a training batch must hold 2 images or more, got 1: "
            f"{' with '.join(named) or 'the model'} has batch normalisation over a single pixel "
            "per image; pass drop_last=True if only the last batch of an epoch holds one image, "
            "otherwise a larger batch_size"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep a checkpoint from downloading pretrained weights that it replaces when loaded."""
        keep_counters(self.attached_trainer(), self)
        self._two_weights.save(self.attached_trainer(), self, checkpoint)
        if "weights" in checkpoint.get("hyper_parameters", {}):
            kept = {**checkpoint["hyper_parameters"], "weights": None}
            checkpoint["hyper_parameters"] = kept

    def configure_optimizers(self) -> Optimizer:
        """Create an optimizer with named groups: each part of the model, with and without decay."""
        parts = {name: (list(ps), self.lr) for name, ps in self.model_parts().items()}
        if has_finetuning(self.attached_trainer()):  # it adds what it has frozen later
            for parameters, _ in parts.values():
                parameters[:] = [p for p in parameters if p.requires_grad]
        first, *others = parts
        inside, rate = parts[first][0], self.lr * self._encoder_lr_mult
        pretrained = {first: (inside, rate)}
        if self._layer_decay < 1 and inside:
            pretrained = with_layer_decay(
                first, inside, rate, model=self.model, decay=self._layer_decay
            )
        groups = named_groups({**pretrained, **{name: parts[name] for name in others}})
        return make_optimizer(
            self._optimizer,
            groups,
            lr=self.lr,
            weight_decay=self._weight_decay,
            args=self._optimizer_args,
        )

    def setup(self, stage: str) -> None:
        """Freeze what is not trained at first, before the model is wrapped for several devices."""
        if stage == "fit" and self._freeze != "none":
            self._frozen = True
            _require_gradients(self._pretrained(), False)
            self._set_norms(self.training)  # Lightning warns where they are not, at the start

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except for batch normalisations that are frozen."""
        super().train(mode)
        if self._frozen:
            self._set_norms(False)
        return self

    def on_validation_start(self) -> None:
        """Prepare averaged weights, which are validated instead of the current ones."""
        keep_counters(self.attached_trainer(), self)
        self._two_weights.use_average(self.attached_trainer(), self)

    def on_train_epoch_end(self) -> None:
        """Prepare averaged weights, which are the task's after the last epoch."""
        keep_counters(self.attached_trainer(), self)
        self._two_weights.use_average(self.attached_trainer(), self)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Train with the weights that a schedule-free optimizer trains with."""
        self._two_weights.use_own(self.attached_trainer())

    def on_train_end(self) -> None:
        """Leave the averaged weights of a schedule-free optimizer."""
        self._two_weights.use_average(self.attached_trainer(), self)
        self._two_weights.forget()

    def on_train_epoch_start(self) -> None:
        """Unfreeze if it is time to."""
        self._two_weights.forget()
        self._unfreeze_in_time()

    def on_train_start(self) -> None:
        """Freeze or unfreeze as the epoch demands; warn about an unsuitable optimizer."""
        if self._frozen:
            self._set_norms(False)
        self._unfreeze_in_time()  # a run resumed within an epoch does not start that epoch
        if has_finetuning(self.trainer) and train_what_is_optimized(self.model, self.trainer):
            wrap_again(self.trainer)
        batches = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        if self._optimizer == "Rprop" and batches > 1:
            warn_user(
                "Rprop compares the signs of successive gradients, which differ between "
                f"mini-batches (Riedmiller & Braun 1993); this epoch has {batches:.0f} of them: "
                "use RMSprop, or one batch per epoch"
            )

    def _unfreeze_in_time(self) -> None:
        at = self._unfreeze_at
        if self._frozen and at is not None and self.current_epoch >= at:
            self._frozen = False
            _require_gradients(self._pretrained(), True)
            self._set_norms(self.training)
            wrap_again(self.trainer)

    def _set_norms(self, training: bool) -> None:
        for norm in norms_within(self.model, self._pretrained()):
            norm.train(training)

    def _pretrained(self) -> list[nn.Parameter]:
        return list(next(iter(self.model_parts().values())))


def _require_gradients(parameters: Iterable[nn.Parameter], required: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(required)


def _check_freezing(freeze: str, unfreeze_at: int | None) -> None:
    one_of("freeze", freeze, ("none", "encoder"))
    if unfreeze_at is None:
        return
    whole_number("unfreeze_at", unfreeze_at, 1, remedy="epochs count from 0")
    if freeze == "none":
        raise ValueError(f"`unfreeze_at` needs freeze='encoder', got unfreeze_at={unfreeze_at}")


def _checkpoint_gradients(model: nn.Module) -> None:
    found = (getattr(module, "set_grad_checkpointing", None) for module in model.modules())
    set_checkpointing = next(filter(callable, found), None)
    if set_checkpointing is None:
        raise ValueError(
            "`grad_checkpointing=True` needs a model of timm that supports it, got "
            f"{type(model).__name__}; leave it out, or choose another encoder"
        )
    set_checkpointing(True)
