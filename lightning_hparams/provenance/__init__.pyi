from .comparison import compare as compare
from .dataset import fingerprint as fingerprint
from .facts import (
    code as code,
    environment as environment,
    file_hash as file_hash,
    take as take,
)
from .history import shortened_parts as shortened_parts, whole_parts as whole_parts
from .loading import load_manifest as load_manifest
from .redaction import redact as redact, sounds_secret as sounds_secret
from .side_by_side import (
    Difference as Difference,
    SideBySide as SideBySide,
    compare_runs as compare_runs,
    load_run as load_run,
)
from .values import (
    flatten as flatten,
    plain as plain,
    to_json as to_json,
    to_markdown as to_markdown,
    without_secrets as without_secrets,
)
