"""Variables in the values of a client's file, read as a shell reads them; no command is ever run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_hub.errors import InvalidConfig

_REFERENCE = re.compile(
    r"(?P<escaped>\\\$)|(?P<brace>\$\{)|\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<kind>env|file):(?P<of>[^{}]+)\}"
)
_BRACES = re.compile(r"\$\{|\}")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-=+?])(.*))?", re.DOTALL)
_INPUT = re.compile(r"input:(.+)", re.DOTALL)
_CONSTANT = re.compile(r"[A-Z_][A-Z0-9_]+")
"""A name that people give to environment variables; `$word` in a password is none."""
_OF_EDITORS = {"userHome": "HOME"}
_SEPARATORS = {"/", "pathSeparator"}


@dataclass(frozen=True, slots=True)
class Variables:
    """Values that may stand for references, and the inputs that the file's editor would ask for, with defaults."""

    environment: Mapping[str, str]
    inputs: Mapping[str, str | None] = field(default_factory=dict)

    def expand(self, text: str, *, home: bool = False, kept: frozenset[str] = frozenset()) -> str:
        """Replace the references of a text, once; with `home` a leading `~` too.

        Names in `kept` are the server's own variables: unset here, they stay for whoever reads them there.

        Raises:
            InvalidConfig: it names the variable or input that is missing, and no value.
        """
        parts, position = [], 0
        if home and (text == "~" or text.startswith("~/")):
            parts, position = [self.look_up("HOME")], 1
        while found := _REFERENCE.search(text, position):
            parts.append(text[position : found.start()])
            position = found.end()
            if found["escaped"]:
                parts.append("$")
            elif found["brace"]:
                end = _closing(text, position)
                parts.append(self._braced(text[position:end], kept))
                position = end + 1
            elif found["name"]:
                parts.append(self._named(found["name"], kept))
            else:
                parts.append(self._of_opencode(found["kind"], found["of"]))
        return "".join([*parts, text[position:]])

    def look_up(self, name: str) -> str:
        """Give the value of an environment variable.

        Raises:
            InvalidConfig: it is not set.
        """
        value = self.environment.get(name)
        if value is None:
            raise InvalidConfig(f"the environment variable {name[:80]} is not set")
        return value

    def _named(self, name: str, kept: frozenset[str]) -> str:
        """Replace `$NAME`; one that is not set and does not look like a variable is text."""
        if name in self.environment:
            return self.environment[name]
        return f"${name}" if name in kept or not _CONSTANT.fullmatch(name) else self.look_up(name)

    def _braced(self, body: str, kept: frozenset[str]) -> str:
        if body in _SEPARATORS:
            return "/"
        if asked := _INPUT.fullmatch(body):
            return self._input(asked[1])
        known = _VARIABLE.fullmatch(body)
        if known is None:
            raise InvalidConfig("it refers to something in ${...} that is no environment variable")
        name, operator, word = known.groups()
        name = name if name in self.environment else _OF_EDITORS.get(name, name)
        value = self.environment.get(name)
        if operator and operator.startswith(":"):
            value = value or None  # as a shell: with a colon, empty is as good as unset
        match (operator or "")[-1:]:
            case "-" | "=":
                return self.expand(word, home=True) if value is None else value
            case "+":
                return "" if value is None else self.expand(word, home=True)
            case "" if value is None and name in kept:
                return f"${{{body}}}"
        return self.look_up(name) if value is not None else self._unset(name)

    def _unset(self, name: str) -> str:
        if name.startswith("workspace"):
            raise InvalidConfig(f"only an editor knows ${{{name[:80]}}}; write the path itself")
        raise InvalidConfig(f"the environment variable {name[:80]} is not set")

    def _of_opencode(self, kind: str, of: str) -> str:
        if kind == "file":
            raise InvalidConfig("the hub takes no values from files; put it into an environment variable")
        return self.look_up(of)

    def _input(self, name: str) -> str:
        """Answer what an editor would ask for: from the environment, else by the input's default."""
        variable = input_variable(name)
        value = self.environment.get(variable, self.inputs.get(name))
        if value is None:
            raise InvalidConfig(
                f"the editor asks for the input {name[:80]!r}; set the variable {variable[:80]} instead"
            )
        return value


def input_variable(name: str) -> str:
    """Name the environment variable that answers an input: `github-token` is `INPUT_GITHUB_TOKEN`."""
    return "INPUT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _closing(text: str, position: int) -> int:
    depth = 1
    for brace in _BRACES.finditer(text, position):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.start()
    raise InvalidConfig("it has a '${' without its '}'")
