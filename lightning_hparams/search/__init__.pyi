from .claims import claim as claim, finish as finish, hand_back as hand_back
from .failures import Failure as Failure
from .files import enter as enter, open_from as open_from
from .fitting import batch_size_of as batch_size_of, check_fit as check_fit
from .folders import trial_folder as trial_folder, trial_record as trial_record
from .probe import check_metric as check_metric, logged_metrics as logged_metrics
from .process_state import without_messages as without_messages
from .pruners import make_pruner as make_pruner
from .range_tests import unused_test as unused_test
from .ray_workers import RaySupervisor as RaySupervisor
from .reaper import reap as reap
from .replaying import Comparison as Comparison, replay as replay
from .report import write_report as write_report
from .samplers import make_sampler as make_sampler
from .search import Results as Results, Search as Search
from .seeds import (
    root_number as root_number,
    sampler_seed as sampler_seed,
    training_seed as training_seed,
)
from .settings import SearchSettings as SearchSettings
from .space import Choice as Choice, Float as Float, Int as Int, Space as Space
from .standing import find_study as find_study, status as status
from .storage import Database as Database, open_storage as open_storage
from .study import (
    Asked as Asked,
    SearchStudy as SearchStudy,
    load_study as load_study,
    next_trial as next_trial,
    open_study as open_study,
)
from .supervisor import Supervisor as Supervisor
from .table import TrialTable as TrialTable
from .tracking import MLflowStudy as MLflowStudy, TrialRecorder as TrialRecorder
from .trial import TrialRun as TrialRun, run_trial as run_trial
from .winner import (
    Repeated as Repeated,
    fewer_trials as fewer_trials,
    repeat_best as repeat_best,
    repeated_text as repeated_text,
)
from .worker import Worker as Worker, work as work
