"""The house rules that no linter knows."""

import ast
import re
from functools import cache
from pathlib import Path

import prepaid

SOURCE = Path(prepaid.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 300

LONG_FILES = {
    "errors.py": "the whole tree is read at once, and each class is a few lines",
    "models/catalogue.py": "one class, which is asked for everything about models",
    "models/usage.py": "one class, and the tables of what providers call the counts",
}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def named(path):
    return path.relative_to(SOURCE).as_posix()


def test_there_is_something_to_check():
    assert len(FILES) > 5


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


@cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_files_are_short():
    long = {named(path): lines for path in FILES if (lines := lines_of(path)) > FILE_LINES_MAX}
    assert long.keys() == LONG_FILES.keys(), f"split what is too long, and allow nothing that is not: {long}"


def test_functions_are_short():
    long = [
        f"{named(path)}: {node.name}: {length} lines"
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, FUNCTIONS) and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_what_is_public_has_a_docstring():
    silent = [named(path) for path in FILES if not ast.get_docstring(parsed(path))]
    assert silent == [], "these files do not say their one job"
    missing = [
        f"{named(path)}: {name}"
        for path in FILES
        for name, node in public(parsed(path))
        if not ast.get_docstring(node)
    ]
    assert missing == []


def test_only_the_command_line_prints():
    prints = [
        f"{named(path)}:{node.lineno}"
        for path in FILES
        if "cli" not in path.relative_to(SOURCE).parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


def test_nothing_is_left_for_later():
    left = [
        f"{named(path)}: {line}"
        for path in FILES
        for line in re.findall(r".*\b(?:TODO|FIXME|XXX|HACK)\b.*", path.read_text(encoding="utf-8"))
    ]
    assert left == []


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
