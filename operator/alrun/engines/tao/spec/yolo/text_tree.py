"""The text form of protocol buffers as a tree with line numbers.

The library's own parser says where a text is malformed, but not where a field stands whose value is out of bounds,
and it stops at the first mistake. This reader takes any text: what it does not understand it passes over, for the
library has the last word on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

DEEPEST = 16
"""Nesting that is followed; a spec has 5 levels."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<open>[{<])|(?P<close>[}>])|(?P<list>\[)|(?P<end>\])|(?P<mark>[:,;])
    |(?P<word>[^\s{}<>\[\]:,;"'\#]+|.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(slots=True)
class Node:
    """A field as it is written.

    Attributes:
        name: of the field; empty for the whole text.
        line: from 1.
        value: as written; None for a message.
        children: of a message.
    """

    name: str
    line: int
    value: str | None = None
    children: list[Node] = field(default_factory=list)

    def find(self, path: str) -> Node | None:
        """The last field of that path, like training_config.num_epochs or dataset_config.data_sources[1].root_path."""
        name, _, rest = path.partition(".")
        name, _, index = name.partition("[")
        found = [child for child in self.children if child.name == name]
        if index:
            place = int(index.removesuffix("]"))
            found = found[place : place + 1]
        if not found:
            return None
        return found[-1].find(rest) if rest else found[-1]

    def line_of(self, path: str) -> int:
        """Line of the field, else of the message that lacks it; 0 where that is not there either."""
        while path:
            node = self.find(path)
            if node is not None:
                return node.line
            path = path.rpartition(".")[0]
        return 0


@dataclass(slots=True)
class _Builder:
    """Takes one token after the other.

    Attributes:
        above: the messages that are open, the whole text first.
        name: the field whose value comes next; None: a name comes next.
        in_list: whether several values come, between brackets.
        lists: for each open message the list that it is in, to go on with when it ends; None: it is in none.
    """

    above: list[Node]
    lists: list[Node | None] = field(default_factory=list)
    name: Node | None = None
    in_list: bool = False

    def take(self, kind: str, token: str, line: int) -> None:
        match kind:
            case "open" if self.name is not None:
                message = Node(self.name.name, self.name.line)
                self.above[-1].children.append(message)
                self.above.append(message)
                self.lists.append(self.name if self.in_list else None)
                self.name, self.in_list = None, False
            case "close":
                if len(self.above) > 1:
                    self.above.pop()
                self.name = self.lists.pop() if self.lists else None
                self.in_list = self.name is not None
            case "list":
                self.in_list = self.name is not None
            case "end":
                self.name, self.in_list = None, False
            case "word" | "text":
                self._word(kind, token, line)

    def _word(self, kind: str, token: str, line: int) -> None:
        siblings = self.above[-1].children
        if self.name is not None:
            siblings.append(Node(self.name.name, line if self.in_list else self.name.line, token))
            self.name = self.name if self.in_list else None
        elif kind == "word":
            self.name = Node(token, line)
        elif siblings and siblings[-1].value is not None:
            siblings[-1].value += f" {token}"  # texts side by side are one


def read_tree(text: str) -> Node:
    """The fields of a text, as far as they can be told."""
    root = Node("", 0)
    builder = _Builder([root])
    for kind, token, line in _tokens(text):
        builder.take(kind, token, line)
    return root


def depth(text: str) -> int:
    """How deep messages and lists are nested."""
    now = most = 0
    for kind, _, _ in _tokens(text):
        now += {"open": 1, "list": 1, "close": -1, "end": -1}.get(kind, 0)
        most = max(most, now)
    return most


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup not in (None, "space"):
            yield str(match.lastgroup), match[0], line
        line += match[0].count("\n")
