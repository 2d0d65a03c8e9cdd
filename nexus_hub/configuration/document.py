"""YAML as data with the place of each value, so that whatever is wrong with one can be said with its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nexus_hub.errors import ConfigurationFault, InvalidConfiguration

Path = tuple[str | int, ...]
MOST_VALUES = 50_000
DEEPEST = 50
_YAML = "tag:yaml.org,2002:"
_AS_WRITTEN = {f"{_YAML}str", f"{_YAML}timestamp"}
_SCALARS = {f"{_YAML}{name}" for name in ("null", "bool", "int", "float")}
_WORDS_OF_THE_FILE = re.compile(r"'[\w-][^']+'")


class Position(NamedTuple):
    """A line and a column of the file, both counted from 1."""

    line: int
    column: int


@dataclass
class YamlDocument:
    """The data of a file, and where its keys and values stand."""

    data: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    faults: list[ConfigurationFault] = field(default_factory=list)

    def find(self, fault: ConfigurationFault) -> Position:
        """Find the place of a fault: of its key, or of the value, or of what it would stand in."""
        if fault.place is not None:
            return Position(*fault.place)
        path = fault.path
        if fault.of_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(1, 1))

    def locate(self, name: str, fault: ConfigurationFault) -> str:
        """Write a fault behind its place in the file of that name."""
        place = self.find(fault)
        return f"{name}:{place.line}:{place.column}: {fault}"


def read_document(text: str) -> YamlDocument:
    """Read a YAML document; repeated keys and what has no meaning here are among its faults.

    Raises:
        InvalidConfiguration: it is no YAML; with one fault, whose place is in `place`.
    """
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        # a value that was left without its quotes may be part of what the parser says
        problem = _WORDS_OF_THE_FILE.sub("'...'", str(error.problem or "it can't be read"))
        raise _no_yaml(f"this is no YAML: {problem}", place) from None
    except YAMLError:
        raise _no_yaml("this is no YAML: it holds a character that no text has", Position(1, 1)) from None
    except RecursionError:
        raise _no_yaml(f"the file has a value within more than {DEEPEST}", Position(1, 1)) from None
    document = YamlDocument()
    if node is not None:
        document.data = _NodeReader(document).read(node, ())
    return document


def _no_yaml(problem: str, place: Position) -> InvalidConfiguration:
    return InvalidConfiguration([ConfigurationFault((), problem, place=place)])


class _NodeReader:
    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._constructor: Any = SafeConstructor(loader=YAML(typ="safe", pure=True))
        self._count = 0

    def read(self, node: Node, path: Path) -> Any:
        self._count += 1
        if self._count > MOST_VALUES or len(path) > DEEPEST:
            # aliases make a file of any size out of a few lines
            place = Position(node.start_mark.line + 1, node.start_mark.column + 1)
            raise _no_yaml(f"the file has more than {MOST_VALUES} values, or one within more than {DEEPEST}", place)
        self._document.values[path] = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        match node:
            case MappingNode() if node.tag == f"{_YAML}map":
                return dict(self._read_members(node, path))
            case SequenceNode() if node.tag == f"{_YAML}seq":
                return [self.read(item, (*path, position)) for position, item in enumerate(node.value)]
            case ScalarNode() if node.tag in _AS_WRITTEN:
                return node.value
            case ScalarNode() if node.tag in _SCALARS:
                return self._read_scalar(node, path)
        self._refuse(path, "tags such as !!binary have no meaning here")
        return None

    def _read_scalar(self, node: ScalarNode, path: Path) -> Any:
        try:
            return self._constructor.construct_object(node)
        except (ValueError, KeyError, YAMLError):
            self._refuse(path, "this is no number, and a text stands in quotes")
            return None

    def _read_members(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, Position] = {}
        for key, value in node.value:
            place = Position(key.start_mark.line + 1, key.start_mark.column + 1)
            name = key.value if isinstance(key, ScalarNode) else None
            if name is None or key.tag not in {*_AS_WRITTEN, *_SCALARS}:
                self._document.values[(*path, "?")] = place
                self._refuse((*path, "?"), "a key is a plain word; merges with << are not read")
            elif name in seen:
                self._document.keys[(*path, name)] = place
                self._refuse((*path, name), f"this key is there already, in line {seen[name].line}", of_key=True)
            else:
                seen[name] = self._document.keys[(*path, name)] = place
                yield name, self.read(value, (*path, name))

    def _refuse(self, path: Path, problem: str, *, of_key: bool = False) -> None:
        self._document.faults.append(ConfigurationFault(path, problem, of_key=of_key))
