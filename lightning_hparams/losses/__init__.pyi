from .segmentation import (
    LOSSES as LOSSES,
    WeightedLoss as WeightedLoss,
    cross_entropy_loss as cross_entropy_loss,
    dice_loss as dice_loss,
    focal_loss as focal_loss,
    focal_tversky_loss as focal_tversky_loss,
    generalized_dice_loss as generalized_dice_loss,
    jaccard_loss as jaccard_loss,
    lovasz_loss as lovasz_loss,
    mse_loss as mse_loss,
    tversky_loss as tversky_loss,
)
