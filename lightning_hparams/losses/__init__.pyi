from .lovasz import lovasz_loss as lovasz_loss
from .overlap import (
    dice_loss as dice_loss,
    focal_tversky_loss as focal_tversky_loss,
    generalized_dice_loss as generalized_dice_loss,
    jaccard_loss as jaccard_loss,
    tversky_loss as tversky_loss,
)
from .pixelwise import (
    binary_cross_entropy_loss as binary_cross_entropy_loss,
    cross_entropy_loss as cross_entropy_loss,
    focal_loss as focal_loss,
    mse_loss as mse_loss,
)
from .regression import REGRESSION_LOSSES as REGRESSION_LOSSES, RegressionLoss as RegressionLoss
from .weighted import LOSSES as LOSSES, WeightedLoss as WeightedLoss
