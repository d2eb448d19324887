"""YAML that reads numbers as people mean them, takes no key twice and does not grow while it is read.

YAML 1.1, as PyYAML speaks it, makes 8 of `umask: 0010` and 810 of `at: 13:30`, and keeps the last of two `folders:`.
A few aliases in each other unfold to gigabytes in whatever walks through them.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

INTEGER = "tag:yaml.org,2002:int"
MOST_VALUES = 100_000  # what an alias repeats counted each time


def read_yaml(text: bytes | str, *, aliases: bool = True) -> Any:
    """Return what `text` says as plain Python values, no objects. Raises ValueError with the fault in one line.

    aliases: `*name` may repeat what is written elsewhere
    """
    try:
        return yaml.load(text, _Loader if aliases else _Strict)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not usable YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012  as the base class has it
        first: [(tag, pattern) for tag, pattern in rules if tag != INTEGER]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: bytes | str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, float] = {}  # of each node, by its id: values in it, unfolded

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        # An alias within what it stands for has no size yet: it has no end.
        size = self._sizes.get(id(node), math.inf) if is_alias else self._size(node)
        if size > MOST_VALUES:
            raise yaml.YAMLError(f"over {MOST_VALUES} values, each alias (*name) unfolded; write less in it")
        self._sizes[id(node)] = size
        return node

    def _size(self, node: yaml.Node | None) -> float:
        return 1 + sum(self._sizes[id(inner)] for inner in _inside(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"the key {twice[0]!r} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


class _Strict(_Loader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value itself")
        return super().compose_node(parent, index)


def _inside(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


_Loader.add_implicit_resolver(INTEGER, re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Strict.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers  # adding has made `_Loader` a list of its own
