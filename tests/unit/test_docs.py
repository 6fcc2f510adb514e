"""What the documents promise is there: links, commands, targets, and manifests that are accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from alrun.api.status import Phase, StopReason
from alrun.api.step import StepName
from alrun.api.validate import validate
from alrun.cli.app import COMMANDS, make_app
from alrun.data.problems import Kind

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in LINK.findall(document.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def commands(document: Path, program: str) -> Iterator[list[str]]:
    """Arguments of every call of a program in the blocks of shell and in the code spans of a document."""
    text = document.read_text()
    pieces = [body for _, language, body in BLOCK.findall(text) if language in ("sh", "console")]
    pieces += re.findall(r"`((?:kubectl )?" + program + r" [^`\n]+)`", text)
    for piece in pieces:
        for line in re.split(r"\n|&& | \| ", piece.replace("\\\n", " ")):
            words = line.split(" #")[0].removeprefix("$ ").split()
            if words[:2] == ["kubectl", program]:
                words = words[1:]
            if words[:1] == [program]:
                yield words[1:]


def options_of(words: list[str]) -> set[str]:
    """Options of the command that the words call, which may be one below another."""
    found = typer.main.get_command(make_app(words[:1]))
    for word in words:
        if word not in getattr(found, "commands", {}):
            break
        found = found.commands[word]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_and_their_options_exist(document: Path) -> None:
    wrong = []
    for words in commands(document, "alrun"):
        if words[0].startswith("--") or words[0] in ("…", "COMMAND", "step"):
            continue
        if words[0] not in COMMANDS:
            wrong.append(f"alrun {words[0]}")
            continue
        used = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        wrong += [f"alrun {words[0]} {option}" for option in sorted(used - options_of(words))]
    assert wrong == []


def test_every_command_is_in_the_document_of_the_command_line() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [command for command in COMMANDS if f"`alrun {command}" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_targets_of_make_exist(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {word for words in commands(document, "make") for word in words if re.fullmatch(r"[a-z-]+", word)}
    assert used - known == set()


def runs_in(document: Path) -> list[str]:
    blocks = [body for _, language, body in BLOCK.findall(document.read_text()) if language == "yaml"]
    return [block for block in blocks if "kind: ActiveLearningRun" in block]


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if runs_in(document)], ids=name)
def test_runs_in_the_documents_are_valid(document: Path) -> None:
    for block in runs_in(document):
        report = validate(block)
        assert (report.runs, [str(problem) for problem in report.problems]) == (1, [])


def test_there_is_a_run_in_the_readme() -> None:
    assert len(runs_in(ROOT / "README.md")) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_yaml_can_be_read(document: Path) -> None:
    for indent, language, body in BLOCK.findall(document.read_text()):
        if language == "yaml":
            list(yaml.safe_load_all(body.replace(f"\n{indent}", "\n").removeprefix(indent)))


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = LINK.findall((folder / "README.md").read_text())
    assert sorted(listed) == sorted(file.name for file in folder.glob("0*.md"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("concepts.md", [*StepName, *Phase, *StopReason]),
        ("data.md", list(Kind)),
    ],
)
def test_every_word_of_the_contract_is_explained(document: str, words: list[str]) -> None:
    text = (ROOT / "docs" / document).read_text()
    assert [str(word) for word in words if not re.search(rf"\b{word}\b", text)] == []


def test_every_variable_of_a_custom_trainer_is_explained_and_no_other() -> None:
    variables = re.compile(r"\bALRUN_[A-Z_]+\b")
    given = variables.findall((ROOT / "operator" / "alrun" / "engines" / "custom" / "__init__.py").read_text())
    explained = variables.findall((ROOT / "docs" / "custom-trainer.md").read_text())
    assert set(explained) == set(given)
