from .diagnosis import diagnose as diagnose
from .findings import Diagnosis as Diagnosis, Finding as Finding, Level as Level
