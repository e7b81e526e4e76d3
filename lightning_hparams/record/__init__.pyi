from .manifest_file import (
    has_manifest as has_manifest,
    kept_manifest as kept_manifest,
    run_folder as run_folder,
    without_earlier as without_earlier,
    write_manifest as write_manifest,
)
from .registration import (
    check_forward as check_forward,
    check_registrable as check_registrable,
    register as register,
)
from .row import (
    Row as Row,
    check_domain as check_domain,
    group_of as group_of,
    hyperparameters as hyperparameters,
)
from .run_facts import (
    checkpoints as checkpoints,
    configuration as configuration,
    datasets as datasets,
)
from .run_metrics import (
    RunMetrics as RunMetrics,
    logged_values as logged_values,
    validates as validates,
)
