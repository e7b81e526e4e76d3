"""Predicted boxes are written as one COCO file, in the order of the dataset."""

import json

import pytest
import torch
from lightning import LightningModule
from torch.utils.data import DataLoader

from lightning_hparams import PredictionWriter
from tests.runs import quiet_trainer


class Fixed(LightningModule):
    """Image n has n boxes."""

    class_names = ("cat", "dog")

    def __init__(self, ids=None, **changed):
        super().__init__()
        self.changed = changed
        if ids:
            self.category_ids = ids

    def predict_step(self, batch, batch_idx):
        made = []
        for number in batch["x"].tolist():
            corner = torch.arange(number)[:, None].repeat(1, 2).float() * 2
            made.append(
                {
                    "boxes": torch.cat([corner, corner + torch.tensor([4.0, 3.0])], 1),
                    "labels": torch.arange(number) % 2,
                    "scores": torch.full((number,), 0.5),
                }
            )
        sizes = torch.tensor([[30, 40]]).repeat(len(made), 1)
        return {"boxes": made, "sizes": sizes, "paths": batch["path"], **self.changed}


def loader(count=4):
    samples = [{"x": n, "path": f"/photos/{n % 2}/{n}.jpg"} for n in range(count)]
    return DataLoader(samples, batch_size=3)


def predict(folder, module, **options):
    trainer = quiet_trainer(callbacks=[PredictionWriter(folder)], **options)
    assert trainer.predict(module, loader()) is None
    return json.loads((folder / "predictions.json").read_text())


def test_images_categories_and_boxes_are_those_of_coco(tmp_path):
    found = predict(tmp_path, Fixed())
    names = [(image["id"], image["file_name"]) for image in found["images"]]
    assert names == [(1, "0.jpg"), (2, "1.jpg"), (3, "2.jpg"), (4, "3.jpg")]
    assert {(image["width"], image["height"]) for image in found["images"]} == {(40, 30)}
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [box["image_id"] for box in found["annotations"]] == [2, 3, 3, 4, 4, 4]
    assert found["annotations"][2] == {
        "id": 3,
        "image_id": 3,
        "category_id": 2,
        "bbox": [2.0, 2.0, 4.0, 3.0],
        "area": 12.0,
        "iscrowd": 0,
        "score": 0.5,
    }


def test_numbers_have_the_fewest_digits(tmp_path):
    boxes = {
        "boxes": torch.tensor([[0.1, 0.2, 8.4, 9.3]]),
        "labels": torch.tensor([0]),
        "scores": torch.tensor([0.9]),
    }
    found = predict(tmp_path, Fixed(boxes=[boxes] * 3), limit_predict_batches=1)
    (box, *_) = found["annotations"]
    assert box["score"] == 0.9
    assert box["bbox"][:2] == [0.1, 0.2]
    assert box["bbox"][2:] == pytest.approx([8.3, 9.1])


def test_categories_keep_the_ids_of_the_training_data(tmp_path):
    found = predict(tmp_path, Fixed(ids=[7, 90]))
    assert [category["id"] for category in found["categories"]] == [7, 90]
    assert [box["category_id"] for box in found["annotations"]] == [7, 7, 90, 7, 90, 7]


def test_an_evaluation_by_coco_reads_the_file(tmp_path):
    from faster_coco_eval import COCO, COCOeval_faster

    predict(tmp_path, Fixed())
    truth = COCO(str(tmp_path / "predictions.json"))
    results = truth.loadRes(json.loads((tmp_path / "predictions.json").read_text())["annotations"])
    evaluation = COCOeval_faster(truth, results, "bbox", print_function=lambda *args: None)
    evaluation.run()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": torch.zeros(3, 3)}, r"'sizes' \(N, 2\), .* got \(3, 3\) for 3 images"),
        ({"boxes": [{"boxes": torch.zeros(0, 4)}] * 3}, r"dict of tensors 'boxes' .* \['boxes'\]"),
    ],
)
def test_predictions_of_another_form_are_refused(tmp_path, changed, message):
    with pytest.raises(TypeError, match=message):
        predict(tmp_path, Fixed(**changed))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_write_one_file(tmp_path):
    one = predict(tmp_path / "1", Fixed())
    assert predict(tmp_path / "2", Fixed(), devices=2, strategy="ddp_fork") == one
