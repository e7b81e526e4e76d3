"""Classification of images with any model of timm and torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..checks import in_range, mapping_in, one_of, whole_number
from ..losses import WeightedLoss
from ._arguments import checked_class_names, checked_class_weights
from ._classification_scores import ClassificationEvaluation
from ._classification_steps import ClassificationSteps
from ._image_task import assembled
from ._mixing import Mixing
from .base import Freeze

__all__ = ["ClassificationTask"]

_KINDS = ("multiclass", "multilabel")
_SMOOTHED = ("ce", "bce")
_PIXELWISE = ("bce", "ce", "focal", "mse")


class ClassificationTask(ClassificationSteps):
    """Train, validate, test and predict the class of images, or several labels each.

    A batch is a :class:`~lightning_hparams.outputs.ClassificationBatch` or a pair
    ``(image, label)``. All arguments are plain values, which YAML files, checkpoints and the
    HParams tab store unchanged.

    Args:
        model: A model of timm, such as ``"resnet18"``, or ``"torchvision/resnet18"``.
        weights: None for random initialisation, ``"imagenet"``, or a file with weights: a state
            dict, a checkpoint that holds one, or a file from timm or torchvision. A last layer for
            other classes is left out.
        model_args: Further arguments of the model, such as ``{"drop_rate": 0.1}``.
        task: ``"multiclass"`` (one class per image) or ``"multilabel"`` (each label present or
            not).
        in_channels: Channels of an image.
        num_classes: Number of classes, at least 2; of labels, at least 1.
        class_names: One name per class. None for those of the data module that the task is trained
            with, or else ``class 0``, ``class 1``, ...
        image_size: The task resizes images so that their shorter side has this many pixels. None
            enlarges only those below what the model needs: twice its total stride, usually 64
            pixels, or the one size of a model that has one. For images of 8 to 32 pixels, model
            ``"resnet10t"`` with ``image_size=32`` is accurate at a small cost.
        loss: ``"ce"`` (cross entropy), ``"bce"`` (each class against all others), ``"focal"`` or
            ``"mse"`` (of probabilities), or a dict of names and weights.
        loss_args: Further arguments of each loss, by its name: ``{"focal": {"gamma": 2.0}}``.
        label_smoothing: Share of a target that is spread over all classes, in 0..1, for ``"ce"``
            and ``"bce"``.
        class_weights: Weight of each class in the losses, at least 0. ``"auto"`` for the square
            root of the inverse frequency in the training data, which the data module counts.
        mixup: Mix pairs of training images; the parameter of its beta distribution, 0 for none.
        cutmix: Replace a rectangle of a training image by that of another; the parameter is like
            that of ``mixup``. With both, each batch gets one of them at random.
        ignore_index: Label of images that are left out of loss and metrics; for multilabel, of
            labels.
        threshold: Probability from which a label is present (multilabel), in 0..1.
        mean: Mean of each channel in units of 0..1. None for what the weights expect, otherwise
            ImageNet's for three channels and 0.5 for any other number.
        std: Standard deviation of each channel, with defaults like ``mean``, but 0.25 for 0.5.
        optimizer: A class in ``torch.optim`` (SGD, Adam, AdamW, RMSprop, NAdam, ...); or
            AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree or Prodigy, see
            :class:`~lightning_hparams.tasks.VisionTask`.
        optimizer_args: Further arguments of the optimizer.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default. Does not apply to biases and
            the scales of normalisation layers.
        encoder_lr_mult: The learning rate of the encoder, which is all but the last layer, as a
            multiple of ``lr``.
        layer_decay: The learning rate of each layer of the encoder as a multiple of that of the
            next one, above 0; 1 for one rate.
        freeze: ``"encoder"`` does not train the encoder, and keeps the statistics of its batch
            normalisations.
        unfreeze_at: First epoch in which the encoder is trained after all; None for never.
        compile: Compile the model with ``torch.compile``; checkpoints stay the same.
        grad_checkpointing: Compute activations again in the backward pass instead of storing them.
            For models of timm.

    Logged by Lightning, with stage ``train``, ``val`` or ``test``: ``loss/{stage}`` and
    ``metric/{accuracy,macro_f1,calibration_error}/{stage}``, and for multiclass tasks with more
    than five classes ``metric/accuracy_top5/{stage}``. Available to callbacks, and written to
    loggers by :class:`~lightning_hparams.MetricMonitor` only:
    ``class/{recall,f1}/{class name}/{stage}`` and ``loss/{stage}/{term}``.

    Raises:
        ValueError: For an unknown name (suggesting similar ones) or a value out of range.
        TypeError: For an argument that the model, optimizer or loss does not take, or a value of
            the wrong type.
    """

    def __init__(
        self,
        model: str = "mobilenetv3_small_100",
        weights: str | None = None,
        *,
        model_args: dict[str, object] | None = None,
        task: Literal["multiclass", "multilabel"] = "multiclass",
        in_channels: int = 3,
        num_classes: int = 2,
        class_names: list[str] | None = None,
        image_size: int | None = None,
        loss: str | dict[str, float] = "ce",
        loss_args: dict[str, dict[str, object]] | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["auto", "equal"] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        ignore_index: int | None = None,
        threshold: float = 0.5,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        optimizer: str = "AdamW",
        optimizer_args: dict[str, object] | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        encoder_lr_mult: float = 1.0,
        layer_decay: float = 1.0,
        freeze: Freeze = "none",
        unfreeze_at: int | None = None,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ) -> None:
        one_of("task", task, _KINDS)
        num_classes = whole_number("num_classes", num_classes, 1 if task == "multilabel" else 2)
        in_channels = whole_number("in_channels", in_channels, 1)
        if image_size is not None:
            image_size = whole_number("image_size", image_size, 1)
        if ignore_index is not None:
            ignore_index = whole_number("ignore_index", ignore_index)
        in_range("threshold", threshold, 0, 1)
        weights_of_classes = checked_class_weights(class_weights, num_classes)
        names = checked_class_names(class_names, num_classes)
        mixing = Mixing(mixup, cutmix)
        criterion = WeightedLoss(
            loss,
            task=task,
            ignore_index=ignore_index,
            class_weights=weights_of_classes,
            loss_args=_smoothed(loss, loss_args, label_smoothing),
            validate_target=False,  # check_labels does this, and names the file
        )
        built, (mean, std) = assembled(
            model,
            weights,
            in_channels=in_channels,
            outputs=num_classes,
            args=model_args,
            mean=mean,
            std=std,
        )
        super().__init__(
            built.model,
            mean=mean,
            std=std,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            lr=lr,
            weight_decay=weight_decay,
            encoder_lr_mult=encoder_lr_mult,
            layer_decay=layer_decay,
            freeze=freeze,
            unfreeze_at=unfreeze_at,
            compile=compile,
            grad_checkpointing=grad_checkpointing,
        )
        self.save_hyperparameters()
        self.use(built, image_size)
        self.task, self.num_classes, self.class_names = task, num_classes, names
        self.class_facts = {"class_names": None if class_names is None else names}
        self.ignore_index, self.threshold = ignore_index, threshold
        self.loss = criterion
        self._mixing = mixing
        for stage in ("val", "test"):
            evaluation = ClassificationEvaluation(
                criterion.weights, num_classes, task, ignore_index
            )
            setattr(self, f"{stage}_evaluation", evaluation)
            setattr(self, f"{stage}_counts", evaluation.counts)  # where monitors look for them


def _smoothed(
    loss: str | Mapping[str, float],
    loss_args: Mapping[str, Mapping[str, object]] | None,
    label_smoothing: float,
) -> dict[str, dict[str, object]]:
    """Add label smoothing to the arguments of the losses that have it."""
    in_range("label_smoothing", label_smoothing, 0, 1, remedy="0.1 is usual, 0 for none")
    args = {
        name: mapping_in(f"loss_args[{name!r}]", given)
        for name, given in mapping_in("loss_args", loss_args).items()
    }
    names = [loss] if isinstance(loss, str) else list(loss) if isinstance(loss, Mapping) else []
    for name in names:
        one_of("loss", name, _PIXELWISE)
    if label_smoothing == 0:
        return args
    smoothed = [name for name in names if name in _SMOOTHED]
    if not smoothed:
        raise ValueError(
            f"`label_smoothing` is for the losses {list(_SMOOTHED)}, got loss={loss!r}; pass 0"
        )
    for name in smoothed:
        if "label_smoothing" in args.setdefault(name, {}):
            raise ValueError(
                f"`loss_args[{name!r}]` repeats 'label_smoothing'; use the task's argument alone"
            )
        args[name]["label_smoothing"] = label_smoothing
    return args
