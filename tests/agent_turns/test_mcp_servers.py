"""Spec C16: chats use MCP servers, here a real one in a process of its own, over stdio."""

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

from prepaid.errors import ProviderResponseInvalid
from prepaid.models.offline import OfflineModel
from prepaid.records import Role, ToolCall

from .desk import add

SERVER = Path(__file__).with_name("tool_server.py")
ASKS_PID = ToolCall("p", "pid", "{}")


def server():
    return MCPToolset(StdioTransport(sys.executable, [str(SERVER)], keep_alive=False))


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid):
    while is_alive(pid):  # noqa: ASYNC110 -- it is nobody's child by then
        await asyncio.sleep(0.01)


async def test_a_server_by_its_script_beside_a_function(desk):
    agent = desk.agent(tools=[add], toolsets=[SERVER])
    answer = await desk.ask(agent, "use multiply with 6 and 7")
    assert answer.text == "Offline model: multiply says: 42"
    assert len(desk.captures) == 2
    assert [message.role for message in desk.messages] == [
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.ASSISTANT,
    ]
    assert (await desk.ask(agent, "use add with 6 and 7")).text == "Offline model: add says: 13"


async def test_a_server_that_is_kept_entered_serves_every_turn(desk):
    async with server() as kept:
        agent = desk.agent(toolsets=[kept])
        for _ in range(2):
            await desk.ask(agent, "go", OfflineModel(script=[ASKS_PID]))
    pids = [int(message.text) for message in desk.messages if message.role is Role.TOOL]
    assert len(pids) == 2
    assert len(set(pids)) == 1
    await asyncio.wait_for(gone(pids[0]), 120)


async def test_leaving_a_turn_stops_the_server(desk):
    agent = desk.agent(toolsets=[server()])
    async with aclosing(agent.stream(desk.question("go", OfflineModel(script=[ASKS_PID])))) as events:
        assert await anext(events) == ASKS_PID
        await anext(events)
    (pid,) = [int(message.text) for message in desk.messages if message.role is Role.TOOL]
    await asyncio.wait_for(gone(pid), 120)
    assert len(desk.captures) == 2


async def test_what_a_server_fails_at_is_told_to_the_model(desk):
    failing = ToolCall("f", "fail", '{"reason":"no paper"}')
    async with server() as kept:
        agent = desk.agent(toolsets=[kept])
        answer = await desk.ask(agent, "go", OfflineModel(script=[failing, "I see."]))
        assert answer.text == "I see."
        assert "no paper" in desk.messages[2].text
        with pytest.raises(ProviderResponseInvalid):
            await desk.ask(agent, "go", OfflineModel(script=[failing, failing]))
    assert len(desk.captures) == 4
    assert len(desk.messages) == 4


async def test_a_server_that_does_not_start_costs_nothing(desk):
    broken = MCPToolset(StdioTransport(sys.executable, ["-c", "raise SystemExit(1)"], keep_alive=False))
    with pytest.raises(Exception, match=r"(?i)connect|closed|exit"):
        await desk.ask(desk.agent(toolsets=[broken]), "go")
    assert (desk.spent, desk.account.held, desk.chat.open_turn) == (0, 0, None)
