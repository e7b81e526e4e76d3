"""An image classifier of transformers, built from a configuration without a download."""

import pytest
import torch
from lightning import LightningModule

from lightning_hparams import LRRangeTest, MetricMonitor, OneCycle, PredictionMonitor
from tests.pages import Plain
from tests.runs import quiet_trainer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.lr = 1e-3
        config = transformers.ViTConfig(
            image_size=8,
            patch_size=4,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=2,
        )
        self.net = transformers.ViTForImageClassification(config)

    def training_step(self, batch, batch_idx):
        return self.net(pixel_values=batch[0], labels=batch[1])  # a ModelOutput with `loss`

    def validation_step(self, batch, batch_idx):
        output = self.net(pixel_values=batch[0], labels=batch[1])
        self.log("val_loss", output.loss)
        return {
            "kind": "classification",
            "images": batch[0].clamp(0, 1),
            "logits": output.logits,
            "preds": output.logits.argmax(1),
            "targets": batch[1],
        }

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.lr)


@pytest.mark.filterwarnings("ignore")
def test_a_vision_transformer_is_tested_scheduled_and_drawn():
    test, pictures = LRRangeTest(num_steps=100), PredictionMonitor(2)
    module = Classifier()
    trainer = quiet_trainer(max_epochs=3, callbacks=[test, OneCycle(), MetricMonitor(), pictures])
    trainer.fit(module, Plain())
    assert test.result.status in ("ok", "no_divergence")
    assert module.lr == test.result.suggestion
    assert len(pictures.pictures) == 2
