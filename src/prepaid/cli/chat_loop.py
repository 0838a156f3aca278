"""Reads questions, streams answers, shows what each cost; on a terminal, through a pipe, or as JSON."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, Final, TypeVar

from rich.text import Text

from prepaid.cli.chat_seats import Seat
from prepaid.cli.failures import report
from prepaid.cli.output import console, plain, table, write_json
from prepaid.errors import ChatNotFound, InvalidRequestError, LeaseNotFound, NotFoundError, PrepaidError
from prepaid.money import Currency, format_amount
from prepaid.records import Role, TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.turns import Answer

__all__ = ["ChatLoop"]

T = TypeVar("T")

_HELP: Final = {
    "/new [NAME]": "open another chat",
    "/switch [NUMBER]": "go to another chat, or list them",
    "/history [COUNT]": "the last messages of this chat",
    "/balance": "what is left",
    "/close": "end the session, get back what is left, and leave",
    "/quit": "leave; the session stays open (Ctrl-D does the same)",
}
_LEFT_AFTER_INTERRUPTS: Final = 2


class ChatLoop:
    """One conversation in a seat. Questions are read synchronously; between them nothing of ours runs.

    Ctrl-C while an answer streams cancels that turn only, which settles it for what was delivered.
    """

    def __init__(self, runner: asyncio.Runner, seat: Seat, asset: Currency, *, as_json: bool) -> None:
        self._runner = runner
        self._seat = seat
        self._asset = asset
        self._as_json = as_json
        self._is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._out = console()
        self._turns: list[dict[str, Any]] = []
        self._failures = 0
        self._is_over = False
        self._refunded: int | None = None
        self._commands: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "/new": self._new,
            "/switch": self._switch,
            "/history": self._history,
            "/balance": self._balance,
            "/close": self._close,
            "/quit": self._quit,
            "/exit": self._quit,
            "/help": self._help,
        }

    def run(self) -> int:
        """Talk until there is nothing more to say; how many lines failed, where nobody saw them fail."""
        self._chat = self._run(self._seat.current())
        self._greet()
        for line in self._lines():
            self._handle(line)
            if self._is_over:
                break
        if self._as_json:
            told = {"session_id": self._seat.session_id, "currency": self._asset.code, "turns": self._turns}
            refund = {} if self._refunded is None else {"refunded": self._refunded}
            write_json(told | {"available": self._available()} | refund)
        return 0 if self._is_terminal else self._failures

    # --- reading ---------------------------------------------------------------------------------

    def _lines(self) -> Iterator[str]:
        if not self._is_terminal:
            sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
            yield from (line.rstrip("\r\n") for line in sys.stdin)
            return
        import readline

        assert readline  # importing it gives input() its line editing
        interrupts = 0
        while interrupts < _LEFT_AFTER_INTERRUPTS:
            try:
                # \001 and \002 tell readline what has no width.
                line = input(f"\001\033[1m\002{plain(self._chat.name)} › \001\033[0m\002")
            except EOFError:
                self._out.print()
                return
            except KeyboardInterrupt:
                interrupts += 1
                self._out.print("\n(Ctrl-D or /quit leaves; the session stays open.)", style="dim")
                continue
            interrupts = 0
            yield line

    def _handle(self, line: str) -> None:
        line = line.strip()
        if not line:
            return
        try:
            if line.startswith("/"):
                name, _, rest = line.partition(" ")
                command = self._commands.get(name)
                if command is None:
                    raise InvalidRequestError(f"{name!r} is no command.", remedy="/help lists them.")
                self._run(command(rest.strip()))
            else:
                self._ask(line)
        except PrepaidError as error:
            self._failures += 1
            self._turns.append({"question": line, "error": error.code, "available": self._available()})
            report(_in_words_of_the_chat(error), self._asset, as_json=self._as_json)

    def _run(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return self._runner.run(done())

    # --- turns -----------------------------------------------------------------------------------

    def _ask(self, text: str) -> None:
        before = self._available()
        try:
            answer = self._runner.run(self._answer(text))
        except KeyboardInterrupt:
            left = self._available()
            self._say(f"\n  stopped: {self._money(before - left)} for what came · {self._money(left)} left")
            self._turns.append({"question": text, "stopped": True, "cost": before - left, "available": left})
            return
        usage = answer.usage
        cut = " · cut to what the balance could pay" if answer.is_lowered and _is_cut(answer) else ""
        left = self._available()
        self._say(
            f"\n  {self._money(answer.cost)} (tokens: {usage.input_tokens:,} in, {usage.output_tokens:,} out)"
            f"{cut} · {self._money(left)} left"
        )
        self._turns.append(
            {
                "question": text,
                "answer": answer.text,
                "model": answer.model,
                "finish_reason": answer.finish_reason,
                "is_lowered": answer.is_lowered,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cost": answer.cost,
                "available": left,
                "chat_no": self._chat.chat_no,
            }
        )

    async def _answer(self, text: str) -> Answer:
        async with aclosing(self._chat.stream_message(text)) as events:
            async for event in events:
                match event:
                    case TextDelta(piece):
                        self._write(plain(piece))
                    case ToolCall():
                        self._say(f"  (uses {event.name} {event.arguments})")
                    case Answer():
                        return event
        raise AssertionError("a stream ends with its answer")

    # --- commands --------------------------------------------------------------------------------

    async def _new(self, name: str) -> None:
        self._chat = await self._seat.new_chat(name, AgentConfig())
        self._say(f"  {self._chat.name} is open. It knows nothing of the others.")

    async def _switch(self, number: str) -> None:
        if number:
            if not (number.isascii() and number.isdecimal()):
                raise ChatNotFound(number)
            self._chat = await self._seat.switch(int(number))
            self._say(f"  In {self._chat.name}: {self._chat.record.message_count} messages so far.")
            return
        for chat in await self._seat.chats():
            mark = "→" if chat.chat_no == self._chat.chat_no else " "
            self._say(f"  {mark} {chat.chat_no}  {chat.name} ({chat.record.message_count} messages)")

    async def _history(self, count: str) -> None:
        limit = int(count) if count.isascii() and count.isdecimal() and count.strip("0") else 20
        said = await self._chat.get_history(limit=min(limit, 1000))
        rows = [(str(each.seq), each.message.role.value, _told(each.message)) for each in said]
        if not self._as_json:
            self._out.print(table((">no", "who", "said"), rows) if rows else "  Nothing was said yet.")

    async def _balance(self, _: str) -> None:
        self._say(f"  {self._money(self._available())} left")

    async def _close(self, _: str) -> None:
        self._refunded = await self._seat.leave_for_good()
        back = "given back" if self._refunded is None else f"closed; {self._money(self._refunded)} refunded"
        self._say(f"  {self._seat.session_id} is {back}.")
        self._is_over = True

    async def _quit(self, _: str) -> None:
        self._is_over = True

    async def _help(self, _: str) -> None:
        for name, does in _HELP.items():
            self._say(f"  {name:<18}{does}")

    # --- writing ---------------------------------------------------------------------------------

    def _greet(self) -> None:
        if not self._is_terminal or self._as_json:
            return
        self._out.print(Text.assemble((self._seat.title, "bold"), f" · {self._money(self._available())}"))
        self._say("Ask something. /help lists commands; Ctrl-C stops an answer; Ctrl-D leaves.")

    def _write(self, text: str) -> None:
        if not self._as_json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _say(self, text: str) -> None:
        if not self._as_json:
            self._out.print(plain(text), style="dim", soft_wrap=True)

    def _money(self, units: int) -> str:
        return format_amount(units, self._asset)

    def _available(self) -> int:
        try:
            return self._seat.available
        except NotFoundError:
            return 0


def _is_cut(answer: Answer) -> bool:
    return answer.finish_reason == "length"


def _told(message: Any) -> str:
    if message.text or message.role is Role.TOOL:
        return str(message.text)
    return ", ".join(f"(uses {call.name} {call.arguments})" for call in message.tool_calls)


def _in_words_of_the_chat(error: PrepaidError) -> PrepaidError:
    if isinstance(error, ChatNotFound):
        error.remedy = "/switch without a number lists the chats."
    elif isinstance(error, LeaseNotFound):
        error.remedy = "The lease has ended: prepaid pool take USER"
    return error
