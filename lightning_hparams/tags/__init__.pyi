from .best import BestValues as BestValues, Direction as Direction, direction as direction
from .dashboard import charts as charts, stage_free as stage_free
