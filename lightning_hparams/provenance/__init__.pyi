from .dataset import fingerprint as fingerprint
from .manifest import (
    compare as compare,
    environment as environment,
    file_hash as file_hash,
    flatten as flatten,
    plain as plain,
    take as take,
    to_json as to_json,
    to_markdown as to_markdown,
    without_secrets as without_secrets,
)
from .redaction import Json as Json, redact as redact, sounds_secret as sounds_secret
