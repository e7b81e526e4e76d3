from .kind import KindContract as KindContract
from .rule import RuleContract as RuleContract
from .schedule import ScheduleContract as ScheduleContract
from .sink import SinkContract as SinkContract
from .task import TaskContract as TaskContract
