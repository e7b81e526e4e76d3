"""LightningDataModules that check their files before training."""
