"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
PACKAGES = "bench|broker_service|client_stub|deploy|docs|examples|mesh_runtime|protos|provider_service|tests"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_leads_to_is_there(document: Path) -> None:
    text = document.read_text()
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link}
    paths = set(re.findall(rf"`((?:{PACKAGES})/[\w/.-]+)", text))
    missing = {link for link in links if not (document.parent / link).exists()}
    assert missing | {path for path in paths if not (ROOT / path).exists()} == set()


def test_decisions_are_numbered_in_their_order() -> None:
    text = (ROOT / "docs" / "decisions" / "README.md").read_text()
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
