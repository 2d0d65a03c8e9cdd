"""A Containerfile as its stages and instructions; no engine is needed to read it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fixtures.upstreams import ROOT

CONTAINERFILE = ROOT / "deployments" / "image" / "Containerfile"
_CONTINUED = re.compile(r"\\\n\s*")
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words: of the form in brackets, or as a shell splits them."""
        found: list[str] = json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)
        return found

    @property
    def options(self) -> dict[str, str]:
        """Its `--option=value`s."""
        return dict(word[2:].split("=", 1) for word in self.words if word.startswith("--"))

    @property
    def arguments(self) -> list[str]:
        """Its words that are no options."""
        return [word for word in self.words if not word.startswith("--")]

    @property
    def pairs(self) -> dict[str, str]:
        """The `name=value`s of an ENV, a LABEL or an ARG."""
        return dict(word.split("=", 1) for word in self.words)


@dataclass(frozen=True, slots=True)
class Stage:
    """The instructions from one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def named(self, name: str) -> list[Instruction]:
        """The instructions of one kind."""
        return [one for one in self.instructions if one.name == name]

    def last(self, name: str) -> Instruction:
        """The instruction of this kind that counts."""
        return self.named(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """All that its ENVs set."""
        return {name: value for one in self.named("ENV") for name, value in one.pairs.items()}


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Containerfile, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in _CONTINUED.sub(" ", lines).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield Instruction(name.upper(), rest.strip())


def filled(text: str, variables: Mapping[str, str]) -> str:
    """A text with variables in place of `$name` and `${name}`."""
    return _VARIABLE.sub(lambda found: variables[found[1] or found[2]], text)


def read(path: Path = CONTAINERFILE) -> list[Stage]:
    """The stages; arguments before the first one are filled in."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for one in instructions(path.read_text()):
        if one.name == "FROM":
            base, *name = filled(one.text, arguments).split(" AS ")
            stages.append(Stage(base, name[0] if name else ""))
        elif stages:
            stages[-1].instructions.append(one)
        else:
            arguments |= one.pairs
    return stages
