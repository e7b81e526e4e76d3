from .before_optimizers import BeforeOptimizers as BeforeOptimizers
from .measurement import Measurement as Measurement, Result as Result
from .one_sweep import Found as Found, quiet as quiet
from .outcome import (
    announce as announce,
    change_in_training as change_in_training,
    change_made as change_made,
    chosen as chosen,
    fail as fail,
    show as show,
    warn_of_another_peak as warn_of_another_peak,
)
from .peak_rates import Early as Early, made_early as made_early, unaffected as unaffected
from .place import Data as Data, Place as Place, datamodule_of as datamodule_of
from .protocols import bounds_found as bounds_found
from .written_slots import WrittenSlots as WrittenSlots, restore as restore
