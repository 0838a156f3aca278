"""One question, paid and answered: quote, hold, run, capture. The one way to a model.

A request that fails costs nothing. A caller that vanishes pays for what was produced. A stream is cut
where the hold ends; a provider that bills more than the hold does so at our expense, and it is booked.
"""

from prepaid.turns.offers import OUTPUT_TOKENS_MAX, REQUEST_BYTES_MAX
from prepaid.turns.panel import PanelAnswer, ask_panel
from prepaid.turns.question import Answer, Question
from prepaid.turns.turns import Turns

__all__ = [
    "OUTPUT_TOKENS_MAX",
    "REQUEST_BYTES_MAX",
    "Answer",
    "PanelAnswer",
    "Question",
    "Turns",
    "ask_panel",
]
