import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lightning_hparams.losses import lovasz_loss
from tests.losses.reference import TASKS, both, random_case


def brute_force_lovasz(errors, true):
    """The Lovasz extension by its definition: the Jaccard set function along the sorted errors."""

    def jaccard(wrong):
        hits = sum(t and i not in wrong for i, t in enumerate(true))
        union = sum(t or i in wrong for i, t in enumerate(true))
        return 1 - hits / union if union else 0.0

    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total, wrong = 0.0, set()
    for i in order:
        before = jaccard(wrong)
        wrong.add(i)
        total += max(errors[i], 0.0) * (jaccard(wrong) - before)
    return total


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    task=st.sampled_from(TASKS),
    reduction=st.sampled_from(["batch", "image"]),
    ignore_index=st.sampled_from([None, 255]),
)
def test_lovasz_equals_its_definition(seed, task, reduction, ignore_index):
    logits, target = random_case(seed, task, 3, ignore_index, size=3, images=2)
    values = []
    groups = [[0, 1]] if reduction == "batch" else [[0], [1]]
    for group, k in itertools.product(groups, range(logits.shape[1])):
        errors, true = [], []
        for i in group:
            own = target[i] if task == "multiclass" else target[i, k]
            p = logits[i].double().softmax(0)[k] if task == "multiclass" else logits[i, k].double()
            for value, label in zip(p.flatten().tolist(), own.flatten().tolist(), strict=True):
                if label == ignore_index:
                    continue
                present = label == (k if task == "multiclass" else 1)
                if task == "multiclass":
                    errors.append(abs(present - value))
                else:
                    errors.append(1 - value * (1 if present else -1))
                true.append(present)
        if any(true):
            values.append(brute_force_lovasz(errors, true))
    expected = sum(values) / len(values) if values else 0.0
    options = {"reduction": reduction, "ignore_index": ignore_index, "absent": "skip"}
    ours = lovasz_loss(logits, target, task=task, **options)
    assert float(ours) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_lovasz_accepts_every_floating_point_type(dtype):
    logits, target = random_case(0, "multiclass", 3, None)
    loss, gradient = both(lambda x: lovasz_loss(x, target), logits.to(dtype))
    assert loss.isfinite()
    assert gradient.isfinite().all()
