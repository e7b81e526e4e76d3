"""torchvision's detectors behave like our own: labels from 0, one normalisation, any size."""

import random

import pytest
import torch
from torchvision.models import MobileNet_V3_Large_Weights, mobilenet_v3_large
from torchvision.models.detection import fcos
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import generalized_box_iou_loss

from lightning_hparams import DetectionTask
from lightning_hparams.tasks._focal import WeightedRetinaHead, weighted_focal
from lightning_hparams.tasks.detectors import ARCHITECTURES
from lightning_hparams.tasks.fcos import FcosHead

LIGHT = (
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
BOX = {"boxes": torch.tensor([[4.0, 6.0, 70.0, 80.0]]), "labels": torch.tensor([2])}
BOX_OF_64 = {"boxes": torch.tensor([[4.0, 6.0, 50.0, 60.0]]), "labels": torch.tensor([2])}
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def test_the_names_of_torchvision_are_known_but_for_those_with_masks_or_keypoints():
    assert "fasterrcnn_resnet50_fpn_v2" in ARCHITECTURES
    assert set(LIGHT) < set(ARCHITECTURES)
    assert not any("mask" in name or "keypoint" in name for name in ARCHITECTURES)


@pytest.mark.slow
@pytest.mark.parametrize("arch", LIGHT)
def test_every_family_trains_evaluates_and_predicts(arch):
    """Only the last class is in the data: counted from 1, it would be out of range for some."""
    torch.manual_seed(0)
    task = DetectionTask(arch, num_classes=3, score_threshold=0.0)
    images = [torch.rand(3, 96, 128), torch.rand(3, 64, 80)]
    losses = task(images, [BOX, NOTHING])
    assert set(losses) == set(task.loss_weights)
    sum(losses.values()).backward()
    assert all(bool(value.isfinite()) for value in losses.values())
    task.eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    states = torch.get_rng_state(), random.getstate()
    with torch.no_grad():
        measured, found = task._losses_and_boxes(images, [BOX, NOTHING])
        alone = task(images)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert set(measured) == set(losses)
    for name, value in task.state_dict().items():
        assert torch.equal(value, before[name]), name
    for mine, other, image in zip(found, alone, images, strict=True):
        assert mine["labels"].min() >= 0
        assert mine["labels"].max() <= 2
        width, height = image.shape[2], image.shape[1]
        assert bool((mine["boxes"] <= torch.tensor([width, height] * 2)).all())
        assert all(torch.equal(mine[key], other[key]) for key in other)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_a_label_is_the_same_class_in_training_and_in_prediction(arch):
    """The outputs of class c, pushed up, must lower the loss of label c and predict label c."""
    torch.manual_seed(0)
    task = DetectionTask(arch, num_classes=3, score_threshold=0.3, max_detections=5).eval()
    images = torch.rand(1, 3, 96, 96)
    head = task.model.head.classification_head
    forward = head.forward

    def pushed(*args):
        logits = forward(*args)
        raised = torch.zeros(logits.shape[-1])
        raised[1 + task.first_label] = 12.0
        return logits + raised

    head.forward = pushed
    with torch.no_grad():
        terms = {}
        for label in range(3):
            target = {**BOX, "labels": torch.tensor([label])}
            losses, found = task._losses_and_boxes(images, [target])
            terms[label] = float(losses["classification"])
    assert min(terms, key=terms.get) == 1
    assert set(found[0]["labels"].tolist()) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_our_head_has_the_losses_of_torchvision(seed):
    torch.manual_seed(seed)
    ours, theirs = FcosHead(32, 3, convs=1), fcos.FCOSHead(32, 1, 3, 1)
    theirs.load_state_dict(ours.state_dict())
    outputs = ours([torch.randn(2, 32, 6, 6)])
    anchors = [torch.tensor([[x, y, x + 8.0, y + 8.0] for y in range(6) for x in range(6)])] * 2
    targets = [{"boxes": BOX["boxes"] / 8, "labels": BOX["labels"]}, NOTHING]
    matched = [torch.randint(-1, 1, (36,)), torch.full((36,), -1)]
    for other in (ours, theirs):  # inside of the box, so that all distances are positive
        other.box_coder.encode = lambda reference, boxes: torch.full_like(boxes, 0.5)
    mine = ours.compute_loss(targets, outputs, anchors, matched)
    reference = theirs.compute_loss(targets, outputs, anchors, matched)
    for name, value in reference.items():
        torch.testing.assert_close(mine[name], value, atol=1e-4, rtol=1e-4)


def test_every_distance_can_be_learnt_from_the_first_step():
    torch.manual_seed(0)
    task = DetectionTask(num_classes=3)
    seen = []
    task.model.head.register_forward_hook(lambda module, args, output: seen.append(output))
    task(torch.rand(2, 3, 64, 64), [BOX_OF_64, NOTHING])
    assert bool((seen[0]["bbox_regression"] > 0).all())


@pytest.mark.parametrize("loss", ["giou", "diou", "ciou"])
def test_a_predicted_box_without_area_has_a_finite_loss_and_gradient(loss):
    head = FcosHead(32, 2, convs=0, box_loss=loss)
    outputs = torch.zeros(1, 4, requires_grad=True)
    reference, box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[1.0, 1.0, 7.0, 6.0]])
    value = head._box_loss(outputs, torch.ones(1, 4), reference, box)
    value.backward()
    assert bool(value.isfinite())
    assert bool(outputs.grad.isfinite().all())
    if loss == "giou":
        expected = generalized_box_iou_loss(torch.full((1, 4), 4.0), box, reduction="sum")
        torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)


def test_locations_are_exact_in_bfloat16():
    task = DetectionTask(num_classes=1).to(torch.bfloat16).eval()
    seen = []
    generator = task.model.anchor_generator
    generator.register_forward_hook(lambda module, args, output: seen.append(output[0]))
    with torch.no_grad():
        task(torch.rand(1, 3, 64, 608))
    assert seen[0].dtype == torch.float32
    assert 602.0 in seen[0][:, 2].tolist()


def test_level_sizes_decide_which_level_learns_a_box():
    learnt = {}
    for sizes in ([4, 8, 16], [8, 16, 32]):
        task = DetectionTask(num_classes=1, arch_args={"level_sizes": sizes})
        head = task.model.head
        matched = []

        def compute(targets, out, anchors, idxs, matched=matched, inner=head.compute_loss):
            matched.append(idxs[0])
            return inner(targets, out, anchors, idxs)

        head.compute_loss = compute
        target = {
            "boxes": torch.tensor([[30.0, 30.0, 80.0, 80.0]]),
            "labels": torch.tensor([0]),
        }
        task(torch.rand(2, 3, 128, 128), [target, NOTHING])
        inside = (matched[0] >= 0).nonzero().flatten()
        learnt[sizes[0]] = {0 if index < 256 else 1 if index < 320 else 2 for index in inside}
    assert learnt[8] == {0}
    assert 1 in learnt[4]


@pytest.mark.parametrize(
    "arch", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"]
)
def test_a_model_has_the_same_layers_with_pretrained_weights_and_without(monkeypatch, arch):
    source = mobilenet_v3_large()
    source.features[0][0].weight.data.fill_(0.25)
    state = source.state_dict()
    monkeypatch.setattr(MobileNet_V3_Large_Weights, "get_state_dict", lambda *args, **kwargs: state)
    task = DetectionTask(arch, weights="imagenet")
    loaded = DetectionTask(arch)
    loaded.load_state_dict(task.state_dict())
    optimizer = loaded.configure_optimizers()
    optimizer.load_state_dict(task.configure_optimizers().state_dict())
    assert bool((next(loaded.backbone.parameters()) == 0.25).all())
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_layers_to_train_are_chosen_by_the_task():
    with pytest.raises(TypeError, match="'trainable_backbone_layers'; pass freeze= to the task"):
        DetectionTask("fcos_resnet50_fpn", arch_args={"trainable_backbone_layers": 3})


# -- class weights --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch", ["fcos", pytest.param("fcos_resnet50_fpn", marks=pytest.mark.slow)]
)
def test_class_weights_multiply_the_loss_of_each_class(arch):
    """A weighted mean over the classes of the terms that make up the loss without weights."""

    def loss(weights):
        torch.manual_seed(0)
        task = DetectionTask(arch, num_classes=3, class_weights=weights)
        torch.manual_seed(1)
        return task(torch.rand(1, 3, 64, 64), [BOX_OF_64])["classification"].detach()

    whole, parts = loss([1.0, 1.0, 1.0]), [loss(one) for one in torch.eye(3).tolist()]
    torch.testing.assert_close(whole, sum(parts) / 3)
    torch.testing.assert_close(loss([2.0, 2.0, 2.0]), whole)
    torch.testing.assert_close(loss([1.0, 2.0, 5.0]), (parts[0] + 2 * parts[1] + 5 * parts[2]) / 8)
    if arch == "fcos":
        torch.testing.assert_close(loss("equal"), whole)


def test_a_retina_head_with_equal_weights_has_the_loss_of_torchvision():
    torch.manual_seed(0)
    theirs = RetinaNetClassificationHead(32, 2, 3)
    logits = torch.randn(2, 40, 3)
    matched = [torch.randint(-2, 1, (40,)), torch.full((40,), -1)]
    targets = [{"boxes": BOX["boxes"], "labels": BOX["labels"]}, NOTHING]
    reference = theirs.compute_loss(targets, {"cls_logits": logits}, matched)

    def loss(weights):
        ours = WeightedRetinaHead(theirs, weighted_focal(weights))
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        return ours.compute_loss(targets, {"cls_logits": logits}, matched)

    torch.testing.assert_close(loss(None), reference)
    torch.testing.assert_close(loss([3.0, 3.0, 3.0]), reference)
    assert float(loss([9.0, 1.0, 1.0])) != pytest.approx(float(reference), rel=1e-3)


@pytest.mark.parametrize("arch", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_resnet50_fpn"])
@pytest.mark.parametrize("weights", ["auto", [1.0, 2.0, 3.0]])
def test_class_weights_are_refused_where_the_loss_has_none(arch, weights):
    with pytest.raises(ValueError, match="`class_weights` is for the focal loss of FCOS and Ret"):
        DetectionTask(arch, num_classes=3, class_weights=weights)
