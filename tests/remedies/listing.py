"""The remedies in the source: what stands behind the last semicolon of a message, or is called one."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import arraycnn

SOURCE = Path(arraycnn.__file__).parent

_PROSE = {
    f"report/{name}.py"
    for name in ("internals_sections", "other_sections", "sections", "sentences")
}
"""Pages for a reader, in which a semicolon is one."""

_TEMPLATES = {"export/torch_parts.py"} | {
    f"program/render/cuda/{name}.py" for name in ("epilogue", "kernel_text", "lines", "loop_text")
}
"""Code of other languages."""

_HOLE = "{}"
_HOLES = re.compile(r"\{\w*\}")


class Remedy(NamedTuple):
    """Words of a message: what differs from one time to the next is ``{}``."""

    file: str
    words: str

    def pattern(self) -> str:
        """A regular expression for the words as a user sees them."""
        return ".*".join(map(re.escape, _HOLES.split(self.words)))


@cache
def remedies() -> tuple[Remedy, ...]:
    """All that stand in the source, each once per file."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    takers = dict(taker for tree in trees.values() for taker in _takers(tree))
    found: dict[Remedy, None] = {}
    for path, tree in trees.items():
        file = path.relative_to(SOURCE).as_posix()
        if file not in _PROSE | _TEMPLATES:
            found.update(dict.fromkeys(Remedy(file, words) for words in _in_tree(tree, takers)))
    return tuple(found)


def _takers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Functions and classes that take an argument ``remedy``, and at which position."""
    for node in ast.walk(tree):
        functions = [node] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.ClassDef):
            functions = [f for f in node.body if getattr(f, "name", "") == "__init__"]
        for function in functions:
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            if "remedy" in names:
                yield node.name, names.index("remedy")


def _in_tree(tree: ast.AST, takers: dict[str, int]) -> Iterator[str]:
    silent = {id(node) for node in _without_words(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = [k.value for k in node.keywords if k.arg == "remedy"]
            if name in takers:
                given += node.args[takers[name] : takers[name] + 1]
            yield from filter(None, map(_all_words, _choices(given)))
        elif isinstance(node, ast.Assign) and _is_called_remedy(node):
            yield from filter(None, map(_all_words, _choices([node.value])))
        elif isinstance(node, ast.FunctionDef) and "remedy" in node.name:
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
            yield from filter(None, map(_all_words, _choices(returned)))
        elif isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in silent:
            words = _words(node).rpartition("; ")[2] if "; " in _words(node) else ""
            if re.search(r"[a-z]", words.replace(_HOLE, "")):
                yield words


def _is_called_remedy(node: ast.Assign) -> bool:
    names = [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return any("remedy" in name.lower() for name in names)


def _choices(nodes: list[ast.expr]) -> Iterator[ast.expr]:
    """What an argument may be: both sides of a conditional, the parts of a tuple."""
    for node in nodes:
        if isinstance(node, ast.IfExp):
            yield from _choices([node.body, node.orelse])
        elif isinstance(node, ast.Tuple):
            yield from _choices(node.elts[-1:])
        else:
            yield node


def _all_words(node: ast.expr) -> str:
    """The whole of a remedy's own text; after the last semicolon, as that of a message."""
    return _words(node).rpartition("; ")[2]


def _words(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else _HOLE for v in node.values)
        return "".join(map(str, parts))
    value = getattr(node, "value", None)
    return re.sub(r"%[sr]", _HOLE, value) if isinstance(value, str) else ""


def _without_words(tree: ast.AST) -> Iterator[ast.AST]:
    """Strings that are no message: docstrings, parts of a larger string, help of an option."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield from (inner for inner in ast.walk(node) if inner is not node)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "option",
            "argument",
        ):
            yield from ast.walk(node)
