"""The hub's one file: read, its references replaced, and checked as far as that is possible without the hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from nexus_hub.configuration.checks import parse
from nexus_hub.configuration.document import YamlDocument, read_document
from nexus_hub.configuration.references import References
from nexus_hub.configuration.secret_values import find_plain_secrets
from nexus_hub.errors import ConfigurationFault, InvalidConfig, InvalidConfiguration

DEFAULT_FILE = "hub.yaml"


@dataclass(frozen=True)
class HubFile:
    """A file that can be used: `data` is what the hub is sent, with secrets in the clear."""

    name: str
    document: YamlDocument
    data: dict[str, Any] = field(repr=False)

    def locate(self, faults: list[ConfigurationFault]) -> list[str]:
        """Write faults behind their places, in the order of the file."""
        ordered = sorted(faults, key=self.document.find)
        return [self.document.locate(self.name, fault) for fault in ordered]


class InvalidFile(InvalidConfiguration):
    """A file that can't be used; `lines` has its faults behind their places."""

    def __init__(self, file: HubFile, faults: list[ConfigurationFault]) -> None:
        super().__init__(faults)
        self.lines = file.locate(faults)


def read_file(file: FilePath, environment: Mapping[str, str]) -> HubFile:
    """Read the hub's file.

    Raises:
        InvalidConfig: there is no such file, or no text in it.
        InvalidFile: with all its faults.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{file} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None
    return read_text(text, str(file), file.parent, environment)


def read_text(text: str, name: str, directory: FilePath, environment: Mapping[str, str]) -> HubFile:
    """Read the text of a file of that name; see `read_file`."""
    try:
        document = read_document(text)
    except InvalidConfiguration as error:
        raise InvalidFile(HubFile(name, YamlDocument(), {}), list(error.faults)) from None
    references = References(environment, directory)
    data = references.resolve(document.data)
    faults = [*document.faults, *references.faults, *find_plain_secrets(document.data)]
    try:
        parse(data)
    except InvalidConfiguration as error:
        known = {fault.path for fault in faults}
        faults += [fault for fault in error.faults if fault.path not in known]
    found = HubFile(name, document, data or {})
    if faults:
        raise InvalidFile(found, faults)
    return found
