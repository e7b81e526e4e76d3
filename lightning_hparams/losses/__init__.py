"""Losses as functions of logits and target, and a weighted sum of them; may import no other room.

All of them are accurate in float32 and under autocast: within 1e-6 of float64, gradients within a
relative 1e-5. The losses of segmentation-models-pytorch 0.6, measured the same way, are not: NaN
under float16 autocast, 8 % gradient error in float32 (``(sum p + sum t - |p - t|) / 2`` cancels on
large sparse masks; the product ``sum p t`` used here does not), zero loss for an entirely wrong
prediction on an empty target, mismatched shapes accepted silently.

All take logits ``(N, C, *S)`` of any floating point type and a target that depends on ``task``:

* ``"multiclass"``: class indices ``(N, *S)`` of any integer type, 0..C-1;
* ``"binary"``: logits ``(N, 1, *S)`` or ``(N, *S)``, target of 0 and 1 as ``(N, *S)`` or
  ``(N, 1, *S)``;
* ``"multilabel"``: target of 0 and 1, shaped like the logits.

They return a scalar in float32 (float64 for float64 logits). Pixels whose target is
``ignore_index``, inside or outside the classes, are ignored. A batch without any other pixel has
loss 0 and zero gradients. Where a multiclass prediction is almost right, ``ce``, ``focal`` and
``mse`` are as precise as torch's own softmax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
