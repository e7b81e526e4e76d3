from ._steps import Curve as Curve
from .bounds import (
    MomentumCycle as MomentumCycle,
    RateBound as RateBound,
    Span as Span,
    as_rates as as_rates,
)
from .combining import (
    SCHEDULES as SCHEDULES,
    Schedule as Schedule,
    as_schedule as as_schedule,
    check_call as check_call,
    curve_of as curve_of,
    join as join,
    warmup as warmup,
)
from .cycles import (
    exp_range as exp_range,
    one_cycle as one_cycle,
    triangular as triangular,
    triangular2 as triangular2,
)
from .decays import (
    constant as constant,
    cosine as cosine,
    flat_cosine as flat_cosine,
    linear as linear,
    polynomial as polynomial,
    step as step,
    wsd as wsd,
)
