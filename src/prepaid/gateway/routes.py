"""Finds the handler of a request: one lookup for the paths that matter."""

from __future__ import annotations

from collections.abc import Mapping

from prepaid.errors import MethodNotAllowed, RouteNotFound
from prepaid.gateway.asgi import Request
from prepaid.gateway.parts import Handler, Routes

__all__ = ["Router"]


class Router:
    """Exact paths first, then the longest that ends in ``/*``."""

    def __init__(self, *tables: Routes) -> None:
        routes = {path: methods for table in tables for path, methods in table.items()}
        self._exact = {path: methods for path, methods in routes.items() if not path.endswith("/*")}
        below = sorted((path for path in routes if path.endswith("/*")), key=len, reverse=True)
        self._below = [(path, path.removesuffix("*"), routes[path]) for path in below]

    def find(self, request: Request) -> Handler:
        """The request's handler; ``route`` and ``tail`` are set on the request.

        Raises:
            RouteNotFound: there is nothing at that path.
            MethodNotAllowed: there is, but not with that method.
        """
        methods = self._exact.get(request.path)
        if methods is None:
            methods = self._find_below(request)
        else:
            request.route = request.path
        # Below us a reply to HEAD is sent without its body.
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise MethodNotAllowed(request.route, _allowed(methods))
        return handler

    def _find_below(self, request: Request) -> Mapping[str, Handler]:
        for path, prefix, methods in self._below:
            if request.path.startswith(prefix) and len(request.path) > len(prefix):
                request.route, request.tail = path, request.path[len(prefix) :]
                return methods
        raise RouteNotFound(request.path)


def _allowed(methods: Mapping[str, Handler]) -> tuple[str, ...]:
    return tuple(sorted({*methods, "HEAD"} if "GET" in methods else methods))
