"""The presets. Where a paper leaves a value open, the preset leaves it out."""

from __future__ import annotations

from functools import partial

from ..checks import one_of
from ..schedules import Schedule, cosine, polynomial, step, warmup
from .preset import Chosen, Preset

__all__ = ["get", "names"]

_FLIP_NEAREST = "flips left to right; the paper's crops and scales need your own transform"


def _steps(*milestones: float, gamma: float = 0.1) -> Schedule:
    return partial(step, milestones=milestones, gamma=gamma)


def _sgd(lr: float, weight_decay: float, momentum: float, section: str) -> dict[str, Chosen]:
    return {
        "task.optimizer": Chosen("SGD", section),
        "task.optimizer_args": Chosen({"momentum": momentum}, section),
        "task.lr": Chosen(lr, section),
        "task.weight_decay": Chosen(weight_decay, section),
    }


_ALL = (
    Preset(
        "classification/resnet-imagenet",
        "Goyal et al. 2017, Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, "
        "arXiv:1706.02677",
        {
            "task.loss": Chosen("ce", "section 5.1"),
            "task.optimizer": Chosen("SGD", "section 5.1"),
            "task.optimizer_args": Chosen({"momentum": 0.9, "nesterov": True}, "section 5.1"),
            "task.lr": Chosen(0.1, "section 5.1: 0.1 for 256 images"),
            "task.weight_decay": Chosen(1e-4, "section 5.1; none on the scales of BatchNorm, 5.3"),
            "data.batch_size": Chosen(256, "section 5.1: 8 devices of 32 images"),
            "data.size": Chosen(224, "section 5.1"),
            "data.augment": Chosen("light", "section 5.1: crops of scale and aspect ratio, flips"),
            "trainer.max_epochs": Chosen(90, "section 5.1"),
        },
        partial(warmup, warmup=5 / 90, start_factor=0.1, then=_steps(25 / 85, 55 / 85, 75 / 85)),
        "warm-up over 5 epochs (2.2), then a tenth after epochs 30, 60 and 80 (5.1)",
    ),
    Preset(
        "classification/cifar-wide-resnet",
        "Zagoruyko & Komodakis 2016, Wide Residual Networks, arXiv:1605.07146",
        {
            "task.loss": Chosen("ce", "section 3"),
            "task.optimizer": Chosen("SGD", "section 3"),
            "task.optimizer_args": Chosen({"momentum": 0.9, "nesterov": True}, "section 3"),
            "task.lr": Chosen(0.1, "section 3"),
            "task.weight_decay": Chosen(5e-4, "section 3"),
            "data.batch_size": Chosen(128, "section 3"),
            "data.augment": Chosen(
                True, "section 3: flips, and crops padded by 4 pixels, as in Cifar10Data"
            ),
            "trainer.max_epochs": Chosen(200, "section 3"),
        },
        _steps(0.3, 0.6, 0.8, gamma=0.2),
        "a fifth after epochs 60, 120 and 160 of 200 (section 3)",
    ),
    Preset(
        "classification/deit",
        "Touvron et al. 2021, Training data-efficient image transformers, arXiv:2012.12877",
        {
            "task.loss": Chosen("ce", "table 9"),
            "task.label_smoothing": Chosen(0.1, "table 9"),
            "task.mixup": Chosen(0.8, "table 9"),
            "task.cutmix": Chosen(1.0, "table 9"),
            "task.optimizer": Chosen("AdamW", "table 9"),
            "task.lr": Chosen(1e-3, "table 9: 0.0005 for 512 images"),
            "task.weight_decay": Chosen(0.05, "table 9"),
            "data.batch_size": Chosen(1024, "table 9"),
            "data.size": Chosen(224, "section 6"),
            "data.augment": Chosen("strong", "table 9: RandAugment 9/0.5, random erasing"),
            "trainer.max_epochs": Chosen(300, "table 9"),
        },
        partial(warmup, warmup=5 / 300, start_factor=1e-3, then=cosine),
        "warm-up over 5 epochs, then a cosine (table 9)",
        "The paper scales the rate in proportion to the batch size.",
    ),
    Preset(
        "classification/convnext",
        "Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545",
        {
            "task.loss": Chosen("ce", "table 5"),
            "task.label_smoothing": Chosen(0.1, "table 5"),
            "task.mixup": Chosen(0.8, "table 5"),
            "task.cutmix": Chosen(1.0, "table 5"),
            "task.optimizer": Chosen("AdamW", "table 5"),
            "task.optimizer_args": Chosen({"betas": [0.9, 0.999]}, "table 5"),
            "task.lr": Chosen(4e-3, "table 5"),
            "task.weight_decay": Chosen(0.05, "table 5"),
            "data.batch_size": Chosen(4096, "table 5"),
            "data.size": Chosen(224, "table 5"),
            "data.augment": Chosen("strong", "table 5: RandAugment 9/0.5, random erasing"),
            "trainer.max_epochs": Chosen(300, "table 5"),
        },
        partial(warmup, warmup=20 / 300, start_factor=1e-3, then=cosine),
        "warm-up over 20 epochs, then a cosine (table 5)",
    ),
    Preset(
        "classification/convnext-finetune",
        "Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545",
        {
            "task.loss": Chosen("ce", "table 5"),
            "task.label_smoothing": Chosen(0.1, "table 5"),
            "task.optimizer": Chosen("AdamW", "table 5"),
            "task.lr": Chosen(5e-5, "table 5"),
            "task.weight_decay": Chosen(1e-8, "table 5"),
            "task.layer_decay": Chosen(0.8, "table 5, for weights from ImageNet-22K"),
            "data.batch_size": Chosen(512, "table 5"),
            "trainer.max_epochs": Chosen(30, "table 5"),
        },
        cosine,
        "a cosine, without warm-up (table 5)",
    ),
    Preset(
        "classification/bit-finetune",
        "Kolesnikov et al. 2020, Big Transfer (BiT), arXiv:1912.11370",
        {
            "task.loss": Chosen("ce", "section 3.3"),
            "task.optimizer": Chosen("SGD", "section 3.3"),
            "task.optimizer_args": Chosen({"momentum": 0.9}, "section 3.3"),
            "task.lr": Chosen(0.003, "section 3.3"),
            "task.weight_decay": Chosen(0.0, "section 3.3: no form of weight decay"),
            "data.batch_size": Chosen(512, "section 3.3"),
            "data.augment": Chosen("flip", "section 3.3: random crops and flips"),
            "trainer.max_steps": Chosen(500, "section 3.3: fewer than 20 000 labelled images"),
        },
        _steps(0.3, 0.6, 0.9),
        "a tenth after 30, 60 and 90 % of the steps (section 3.3)",
        "Up to 500 000 images take 10 000 steps and mixup of 0.1, larger sets 20 000 steps (3.3).",
    ),
    Preset(
        "segmentation/nnunet",
        "Isensee et al. 2021, nnU-Net, Nature Methods 18, arXiv:1904.08128",
        {
            "task.arch": Chosen("unet", "fixed parameters: architecture template"),
            "task.loss": Chosen({"ce": 1.0, "dice": 1.0}, "fixed parameters: loss function"),
            "task.optimizer": Chosen("SGD", "fixed parameters: optimizer"),
            "task.optimizer_args": Chosen(
                {"momentum": 0.99, "nesterov": True}, "fixed parameters: optimizer"
            ),
            "task.lr": Chosen(0.01, "fixed parameters: learning rate"),
            "task.weight_decay": Chosen(3e-5, "the authors' implementation"),
            "data.batch_size": Chosen(2, "rule-based parameters: at least 2"),
            "data.augment": Chosen("strong", "fixed parameters: rotation, scaling, noise, ..."),
            "trainer.max_epochs": Chosen(1000, "fixed parameters: 1000 epochs of 250 batches"),
        },
        partial(polynomial, power=0.9),
        "(1 - epoch / epochs) ** 0.9 (fixed parameters: learning rate)",
        "Its batch size and image size come from the data; see image_size.",
    ),
    Preset(
        "segmentation/deeplabv3",
        "Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, "
        "arXiv:1706.05587",
        {
            "task.arch": Chosen("deeplabv3", "section 3"),
            "task.loss": Chosen("ce", "section 4.1"),
            "task.optimizer": Chosen("SGD", "section 4.1"),
            "task.optimizer_args": Chosen({"momentum": 0.9}, "the authors' implementation"),
            "task.lr": Chosen(0.007, "section 4.1"),
            "data.batch_size": Chosen(16, "section 4.1"),
            "data.size": Chosen(513, "section 4.1"),
            "data.augment": Chosen("light", "section 4.1: scales of 0.5 to 2, flips"),
            "trainer.max_steps": Chosen(30_000, "section 4.1"),
        },
        partial(polynomial, power=0.9),
        "(1 - step / steps) ** 0.9 (section 4.1)",
    ),
    Preset(
        "segmentation/segformer",
        "Xie et al. 2021, SegFormer, arXiv:2105.15203",
        {
            "task.arch": Chosen("segformer", "section 3"),
            "task.encoder": Chosen("mit_b0", "section 3"),
            "task.loss": Chosen("ce", "section 4.1"),
            "task.optimizer": Chosen("AdamW", "section 4.1"),
            "task.lr": Chosen(6e-4, "the authors' implementation: ten times that of the encoder"),
            "task.encoder_lr_mult": Chosen(0.1, "section 4.1: the encoder's rate is 0.00006"),
            "task.weight_decay": Chosen(0.01, "the authors' implementation"),
            "data.batch_size": Chosen(16, "section 4.1: ADE20K; 8 for Cityscapes"),
            "data.size": Chosen(512, "section 4.1: ADE20K"),
            "data.augment": Chosen("light", "section 4.1: scales of 0.5 to 2, flips, crops"),
            "trainer.max_steps": Chosen(160_000, "section 4.1"),
        },
        partial(warmup, warmup=1500 / 160_000, start_factor=1e-6, then="linear"),
        "a straight line to 0 (section 4.1), after a warm-up of 1500 steps in the implementation",
    ),
    Preset(
        "detection/retinanet",
        "Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002",
        {
            "task.arch": Chosen("retinanet_resnet50_fpn", "section 4"),
            **_sgd(0.01, 1e-4, 0.9, "section 4.1"),
            "data.batch_size": Chosen(16, "section 4.1"),
            "data.augment": Chosen("flip", "section 4.1: flips alone"),
            "trainer.max_steps": Chosen(90_000, "section 4.1"),
        },
        _steps(6 / 9, 8 / 9),
        "a tenth after 60 000 and 80 000 of 90 000 steps (section 4.1)",
    ),
    Preset(
        "detection/fcos",
        "Tian et al. 2019, FCOS: Fully Convolutional One-Stage Object Detection, arXiv:1904.01355",
        {
            "task.arch": Chosen("fcos_resnet50_fpn", "section 4"),
            **_sgd(0.01, 1e-4, 0.9, "section 4"),
            "data.batch_size": Chosen(16, "section 4"),
            "data.augment": Chosen("flip", "section 4: as RetinaNet"),
            "trainer.max_steps": Chosen(90_000, "section 4"),
        },
        _steps(6 / 9, 8 / 9),
        "a tenth after 60 000 and 80 000 of 90 000 steps (section 4)",
    ),
    Preset(
        "detection/faster-rcnn-fpn",
        "Lin et al. 2017, Feature Pyramid Networks for Object Detection, arXiv:1612.03144",
        {
            "task.arch": Chosen("fasterrcnn_resnet50_fpn", "section 5"),
            **_sgd(0.02, 1e-4, 0.9, "section 5.1"),
            "data.batch_size": Chosen(16, "section 5.1: 2 images on each of 8 devices"),
            "data.augment": Chosen("flip", _FLIP_NEAREST),
        },
        _steps(0.75),
        "a tenth after three quarters of the steps (section 5.1: 0.02, then 0.002)",
    ),
    Preset(
        "detection/ssd",
        "Liu et al. 2016, SSD: Single Shot MultiBox Detector, arXiv:1512.02325",
        {
            "task.arch": Chosen("ssdlite320_mobilenet_v3_large", "the nearest in torchvision"),
            **_sgd(1e-3, 5e-4, 0.9, "section 3"),
            "data.batch_size": Chosen(32, "section 3"),
            "data.size": Chosen(320, "the model's; 300 in section 3"),
            "data.augment": Chosen("strong", "section 2.2: patches, flips, colours"),
        },
        _steps(2 / 3, 5 / 6),
        "a tenth after 40 000 and 50 000 of 60 000 steps (section 3.1)",
    ),
    Preset(
        "regression/adam",
        "Kingma & Ba 2015, Adam: A Method for Stochastic Optimization, arXiv:1412.6980",
        {
            "task.optimizer": Chosen("Adam", "section 2"),
            "task.optimizer_args": Chosen({"betas": [0.9, 0.999], "eps": 1e-8}, "section 2"),
            "task.lr": Chosen(1e-3, "section 2"),
            "data.batch_size": Chosen(128, "section 6"),
        },
        cosine,
        "a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983); a constant rate in the paper",
    ),
)

_PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def get(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        ValueError: If there is none of this name; suggests similar ones.

    >>> get("segmentation/nnunet").task["optimizer"]
    'SGD'
    """
    one_of("name", name, _PRESETS)
    return _PRESETS[name]


def names(task: str = "") -> list[str]:
    """Return the names of all presets, or of one task: those that start with it.

    >>> names("detection")
    ['detection/faster-rcnn-fpn', 'detection/fcos', 'detection/retinanet', 'detection/ssd']
    """
    return sorted(name for name in _PRESETS if name.startswith(task))
