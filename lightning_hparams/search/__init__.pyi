from .fitting import batch_size_of as batch_size_of, check_fit as check_fit
from .pruners import make_pruner as make_pruner
from .samplers import make_sampler as make_sampler
from .seeds import (
    root_number as root_number,
    sampler_seed as sampler_seed,
    training_seed as training_seed,
)
from .settings import SearchSettings as SearchSettings
from .space import Choice as Choice, Float as Float, Int as Int, Space as Space
from .storage import Database as Database, open_storage as open_storage
from .study import (
    Asked as Asked,
    SearchStudy as SearchStudy,
    load_study as load_study,
    next_trial as next_trial,
    open_study as open_study,
)
