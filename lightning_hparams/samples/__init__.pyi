from .adapters import (
    ADAPTERS as ADAPTERS,
    Adapter as Adapter,
    ReadyAdapter as ReadyAdapter,
    adapter_for as adapter_for,
    count_of as count_of,
    indices_of as indices_of,
)
from .batch import Batch as Batch, draw as draw
from .contents import paths_of as paths_of
from .gallery import (
    Gallery as Gallery,
    first_of_each as first_of_each,
    spread as spread,
    worst_of as worst_of,
)
from .kind import DrawOptions as DrawOptions, Kind as Kind, Sample as Sample, Scores as Scores
from .kinds import kind_of as kind_of
from .reader import Reader as Reader
from .training import training_output as training_output
