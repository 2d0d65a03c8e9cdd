"""The pictures of README and docs: there in both schemes, small, and shown."""

import re

from tests.docs.test_documents import DOCUMENTS
from tests.fixtures.upstreams import ROOT

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 200_000
_SHOWN = re.compile(r'(?:src|srcset)="([^":]+\.png)"')


def test_every_picture_is_small_and_shown_in_both_schemes() -> None:
    shown = {
        (document.parent / path).resolve() for document in DOCUMENTS for path in _SHOWN.findall(document.read_text())
    }
    made = set(PICTURES.glob("*.png"))
    assert shown == made
    assert {path.name for path in made} == {path.name.replace("-light", "-dark") for path in made} | {
        path.name.replace("-dark", "-light") for path in made
    }
    assert not [path.name for path in made if path.stat().st_size > MOST_BYTES]
