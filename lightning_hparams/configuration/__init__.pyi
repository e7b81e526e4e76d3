from .building import Built as Built, Stage as Stage
from .classes import PARTS as PARTS
from .configuration import Configuration as Configuration
from .errors import ConfigurationError as ConfigurationError
from .keys import class_name as class_name
from .messages import sentence as sentence
from .parsing import (
    ConfigurationCLI as ConfigurationCLI,
    new_parser as new_parser,
    plain as plain,
    without_deprecations as without_deprecations,
)
from .saver import ConfigurationSaver as ConfigurationSaver
from .yaml_text import (
    read_yaml as read_yaml,
    read_yaml_file as read_yaml_file,
    write_yaml as write_yaml,
)
