"""YAML that reads numbers as people mean them and takes no key twice.

YAML 1.1, as PyYAML speaks it, makes 8 of `umask: 0010` and 810 of `at: 13:30`, and keeps the last of two `folders:`.
"""

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

INTEGER = "tag:yaml.org,2002:int"


def read_yaml(text: bytes | str) -> Any:
    """Return what `text` says as plain Python values. Raises ValueError with the fault in one line."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not usable YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012  as the base class has it
        first: [(tag, pattern) for tag, pattern in rules if tag != INTEGER]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"the key {twice[0]!r} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(INTEGER, re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
