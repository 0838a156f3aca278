"""The public names: one sorted list, complete, and loaded only when they are used."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import prepaid
from prepaid import errors

HEAVY = (
    "pydantic",
    "pydantic_ai",
    "pydantic_settings",
    "aiohttp",
    "httpx",
    "openai",
    "apsw",
    "typer",
    "rich",
    "web3",
)
SURFACE = (prepaid.SessionManager, prepaid.Session, prepaid.Chat, prepaid.LeasedSession)


def listed_for_type_checkers():
    """The names under ``if TYPE_CHECKING``, with the modules that they are imported from."""
    tree = ast.parse(Path(prepaid.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        name.name: statement.module.removeprefix("prepaid.")
        for statement in block.body
        for name in statement.names
    }


def test_sorted_and_each_once():
    assert prepaid.__all__ == sorted(set(prepaid.__all__))
    assert [*prepaid._HOMES] == sorted(prepaid._HOMES)
    assert dir(prepaid) == prepaid.__all__


@pytest.mark.parametrize("name", prepaid.__all__)
def test_there_is_such_a_thing(name):
    found = getattr(prepaid, name)
    home = prepaid._HOMES.get(name)
    assert found is getattr(importlib.import_module(f"prepaid.{home}" if home else "prepaid.errors"), name)


def test_type_checkers_see_the_same():
    assert listed_for_type_checkers() == prepaid._HOMES


def test_every_error_is_public():
    tree = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, prepaid.PrepaidError)
    ]
    assert {each.__name__ for each in tree} == set(errors.__all__) <= set(prepaid.__all__)


def returned(function):
    """The classes of ours that a function's result is annotated with."""
    if not function.__annotations__.get("return"):
        return set()
    tree = ast.parse(function.__annotations__["return"], mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    module = importlib.import_module(function.__module__)
    found = {getattr(module, name, None) for name in names}
    return {each for each in found if inspect.isclass(each) and each.__module__.startswith("prepaid.")}


@pytest.mark.parametrize("surface", SURFACE, ids=lambda surface: surface.__name__)
def test_what_users_get_back_is_public(surface):
    methods = inspect.getmembers(surface, inspect.isfunction)
    results = {each for name, method in methods if not name.startswith("_") for each in returned(method)}
    assert results
    assert {each.__name__ for each in results} - set(prepaid.__all__) == set()


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="no attribute 'SesionManager'"):
        _ = prepaid.SesionManager


def test_importing_it_imports_little():
    """Figure: ``import prepaid`` ≤ 150 ms. Told by what is imported, not by the clock."""
    program = "import sys; import prepaid; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "prepaid" in modules
    assert modules.isdisjoint(HEAVY)


def test_using_sessions_imports_no_agents():
    """pydantic-ai takes a second to import: only a chat that needs an agent pays it."""
    program = "import sys; from prepaid import SessionManager; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert modules.isdisjoint({"pydantic_ai", "aiohttp", "httpx", "openai", "typer", "rich", "agents"})


def test_the_chain_leaves_the_recursion_limit_alone():
    """A library raises it a hundredfold: deep JSON would end the process instead of being refused."""
    told = "print(sys.getrecursionlimit())"
    program = f"import sys; {told}; import prepaid.chain.wallets, prepaid.chain.ai; {told}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    assert before == after
