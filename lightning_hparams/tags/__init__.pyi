from .best import BestValues as BestValues, Direction as Direction, direction as direction
from .dashboard import charts as charts
from .grammar import (
    Ending as Ending,
    Kind as Kind,
    Stage as Stage,
    Tag as Tag,
    best_tag as best_tag,
    tag as tag,
)
from .names import told_apart as told_apart, writable as writable
