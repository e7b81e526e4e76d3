from .internal import Internal as Internal, InternalsMovedError as InternalsMovedError
from .lightning import (
    FetchWatcher as FetchWatcher,
    WatchedFetcher as WatchedFetcher,
    adopt_run as adopt_run,
    compiles_itself as compiles_itself,
    current_run as current_run,
    ddp_arguments as ddp_arguments,
    detects_anomalies as detects_anomalies,
    epoch_values as epoch_values,
    evaluation_loader as evaluation_loader,
    fit_data as fit_data,
    forget_finished as forget_finished,
    has_run as has_run,
    initial_hparams as initial_hparams,
    log_step as log_step,
    mlflow_client as mlflow_client,
    omit_hp_metric as omit_hp_metric,
    replace_fetch_marks as replace_fetch_marks,
    run_in_this_process as run_in_this_process,
    run_name as run_name,
    set_log_step as set_log_step,
    syncs_batchnorm as syncs_batchnorm,
    tag_prefix as tag_prefix,
    to_device as to_device,
    uses_distributed_sampler as uses_distributed_sampler,
    validates_next as validates_next,
    watch_fetcher as watch_fetcher,
)
from .mlflow import last_steps as last_steps
from .optuna import stale_trials as stale_trials
from .tensorboard import event_file as event_file
from .torch import (
    LAST_RATES as LAST_RATES,
    LOADER_ITERATOR as LOADER_ITERATOR,
    PARTS as PARTS,
    file_writer as file_writer,
)
