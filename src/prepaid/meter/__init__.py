"""One paid call of a model: hold before, settle after, and keep the hold alive in between.

``turns`` uses it for our own models, ``agents`` around pydantic-ai's. Nothing here talks to a model.
"""

from prepaid.meter.call import PaidCall, Payer, Replay, check_usage
from prepaid.meter.exposure import exposure
from prepaid.meter.meter import ATTEMPTS_MAX, REQUEST_KEY_LENGTH_MAX, Meter
from prepaid.meter.once import begin_once
from prepaid.meter.places import PlaceQueue
from prepaid.meter.underway import Stream, Underway

__all__ = [
    "ATTEMPTS_MAX",
    "REQUEST_KEY_LENGTH_MAX",
    "Meter",
    "PaidCall",
    "Payer",
    "PlaceQueue",
    "Replay",
    "Stream",
    "Underway",
    "begin_once",
    "check_usage",
    "exposure",
]
