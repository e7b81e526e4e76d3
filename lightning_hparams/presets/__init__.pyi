from .preset import Chosen as Chosen, Preset as Preset
from .published import get as get, names as names
from .rules import (
    balanced_weights as balanced_weights,
    image_size as image_size,
    level_sizes as level_sizes,
    weights_by_counts as weights_by_counts,
)
