"""Our own REST API below ``/api/v1``, with its OpenAPI document.

``access`` says who may do what, ``problems`` tells errors, ``shapes`` and ``answers`` are what goes in and
out, ``paging`` turns pages, ``events`` streams; the other modules are the operations, by what they are about.
Every one calls ``SessionManager``; none touches the store.
"""

from prepaid.gateway.rest.application import PREFIX, create

__all__ = ["PREFIX", "create"]
