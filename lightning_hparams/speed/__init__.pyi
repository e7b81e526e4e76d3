from .advice import (
    Loading as Loading,
    bottleneck as bottleneck,
    validations_within as validations_within,
)
from .batch import batch_size as batch_size
from .clock import (
    CudaTimer as CudaTimer,
    HostTimer as HostTimer,
    Speed as Speed,
    StepClock as StepClock,
    Timer as Timer,
    Totals as Totals,
)
from .cores import Cores as Cores, cpu_quota as cpu_quota, usable_cores as usable_cores
from .hardware import memory_mib as memory_mib, peak_flops as peak_flops
from .loaders import loading_of as loading_of
from .report import mean_speed as mean_speed, summary as summary
