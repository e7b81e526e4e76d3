from .clock import (
    CudaTimer as CudaTimer,
    HostTimer as HostTimer,
    Loading as Loading,
    Speed as Speed,
    StepClock as StepClock,
    Timer as Timer,
    Totals as Totals,
    batch_size as batch_size,
    bottleneck as bottleneck,
    validations_within as validations_within,
)
from .hardware import memory_mib as memory_mib, peak_flops as peak_flops
