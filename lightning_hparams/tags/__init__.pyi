from .best import BestValues as BestValues, Direction as Direction, direction as direction
from .classes import class_names as class_names
from .dashboard import charts as charts
from .grammar import (
    Ending as Ending,
    Kind as Kind,
    Stage as Stage,
    Tag as Tag,
    best_tag as best_tag,
    tag as tag,
)
from .names import unique_names as unique_names, writable as writable
from .selection import extremes as extremes, set_scores as set_scores
