from .configuration import Built as Built, Configuration as Configuration
from .errors import ConfigurationError as ConfigurationError
from .parsing import ConfigurationCLI as ConfigurationCLI
from .yaml_text import (
    read_yaml as read_yaml,
    read_yaml_file as read_yaml_file,
    write_yaml as write_yaml,
)
