from .averaged_weights import AveragedWeights as AveragedWeights
from .configured_values import (
    ConfiguredValues as ConfiguredValues,
    restore_momentum as restore_momentum,
)
from .group_values import GroupValues as GroupValues
from .preview import draw_values as draw_values, scheduled_values as scheduled_values
from .rivals import refuse_rivals as refuse_rivals
from .run import OnResume as OnResume, ScheduledRun as ScheduledRun
from .run_length import (
    EpochSteps as EpochSteps,
    Position as Position,
    RunLength as RunLength,
    refuse_endless as refuse_endless,
    time_limit as time_limit,
)
