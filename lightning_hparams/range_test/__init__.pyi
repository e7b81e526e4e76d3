from .compare import (
    LrScale as LrScale,
    ParamTestResult as ParamTestResult,
    compare_values as compare_values,
)
from .curve import (
    PARAMS as PARAMS,
    RULES as RULES,
    Curve as Curve,
    Rule as Rule,
    Stop as Stop,
    Sweep as Sweep,
    check_range_test as check_range_test,
    lr_values as lr_values,
    read as read,
    rule_named as rule_named,
    smooth as smooth,
)
from .plan import check_plan as check_plan
from .plot import Chart as Chart
from .probing import probe as probe
from .refining import (
    MOST_TRAININGS as MOST_TRAININGS,
    Trained as Trained,
    refine as refine,
    training_steps as training_steps,
)
from .result import (
    RangeTestResult as RangeTestResult,
    Status as Status,
    analyse as analyse,
)
