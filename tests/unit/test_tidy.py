"""The house rules that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

import prepaid

SOURCE = Path(prepaid.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 300

LONG_FILES = {"errors.py": "the whole tree is read at once, and each class is a few lines"}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def named(path):
    return path.relative_to(SOURCE).as_posix()


def test_there_is_something_to_check():
    assert len(FILES) > 5


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES_MAX or named(path) in LONG_FILES, f"{lines} lines: split {named(path)}"


@pytest.mark.parametrize("name", LONG_FILES)
def test_an_exception_is_still_needed(name):
    assert len((SOURCE / name).read_text(encoding="utf-8").splitlines()) > FILE_LINES_MAX


@pytest.mark.parametrize("path", FILES, ids=named)
def test_functions_are_short(path):
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(parsed(path))
        if isinstance(node, FUNCTIONS) and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_what_is_public_has_a_docstring(path):
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{named(path)} does not say its one job"
    assert [name for name, node in public(tree) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if "cli" not in path.relative_to(SOURCE).parts], ids=named
)
def test_only_the_command_line_prints(path):
    prints = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_nothing_is_left_for_later(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r".*\b(?:TODO|FIXME|XXX|HACK)\b.*", text) == []


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def public(tree, prefix=""):
    """Functions, classes and their methods that others may use, with their names; a setter repeats its getter."""
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)) or node.name.startswith("_") or secondary(node):
            continue
        yield f"{prefix}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node, f"{prefix}{node.name}.")


def secondary(node):
    """What repeats another: an overload, a setter, an override."""
    said = {ast.unparse(decorator).rsplit(".", 1)[-1] for decorator in node.decorator_list}
    return bool(said & {"overload", "setter", "override"})
