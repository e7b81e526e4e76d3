from .bounds import (
    MomentumCycle as MomentumCycle,
    RateBound as RateBound,
    Span as Span,
    check_rates as check_rates,
)
from .shapes import (
    SCHEDULES as SCHEDULES,
    Schedule as Schedule,
    as_schedule as as_schedule,
    constant as constant,
    cosine as cosine,
    exp_range as exp_range,
    flat_cosine as flat_cosine,
    join as join,
    linear as linear,
    one_cycle as one_cycle,
    polynomial as polynomial,
    step as step,
    triangular as triangular,
    triangular2 as triangular2,
    warmup as warmup,
    wsd as wsd,
)
