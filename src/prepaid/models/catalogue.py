"""Which models there are, what they cost and who answers for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from prepaid.errors import ConfigError, CurrencyMismatch, ModelNotPriced, ModelNotSupported
from prepaid.models.codecs.dialects import twin_of
from prepaid.models.contract import Model
from prepaid.models.images import formula_of
from prepaid.models.offline import OfflineModel
from prepaid.models.price_book import SEARCHES, BookEntry, searches_by_itself, shipped_book
from prepaid.records import ALL_CHAT_APIS, IMAGE_TOKENS_DEFAULT, Api, ModelInfo, Price, PriceTier

if TYPE_CHECKING:  # it imports pydantic-settings, which is slow; whoever has settings has it already
    from prepaid.config import PriceSettings, Settings
    from prepaid.models.upstream import Upstream

__all__ = ["Catalogue", "check_model_name", "model_id"]

CONTEXT_TOKENS_DEFAULT: Final = 128_000
"""For a model whose context is neither configured nor in the price book."""

NAME_LENGTH_MAX: Final = 256
_TEXT_APIS: Final = ALL_CHAT_APIS - {"images"}
_READS_ONLY: Final[frozenset[Api]] = frozenset({"embeddings"})
_BILL_IMAGES_AS_TOKENS: Final = frozenset({"anthropic", "azure", "google", "mistral", "openai", "x-ai"})
"""Providers whose models can be sent images: ``IMAGE_TOKENS_DEFAULT`` each, at most."""

_KNOW_BOTH_LIMITS: Final = frozenset({"azure", "openai"})
"""Providers that read ``max_tokens`` and ``max_completion_tokens``, and refuse either for some models."""

_REMEMBERED_MAX: Final = 1_024
_OFFLINE: Final = "offline"
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")
_MODEL_ID = re.compile(r"0x[0-9a-f]{64}")


def model_id(name: str) -> str:
    """The id that the contracts know a model by: keccak256 of its name, in hexadecimal (spec A11)."""
    from Crypto.Hash import keccak  # noqa: PLC0415 -- only those who meet the chain need it

    return "0x" + keccak.new(digest_bits=256, data=name.encode()).hexdigest()


class Catalogue:
    """The models of one configuration: the offline one, those of the upstreams, and any passed in.

    ``models`` are added under their own names and hide others of the same name, which is how tests
    script the offline model. Prices come from the settings first, then from the price book of ``today``.

    Raises:
        ConfigError: the default model, a fallback or a price names a model that nobody serves, or an
            upstream's provider is not in the price book.
        CurrencyMismatch: a model of ``models`` is priced in another currency.
    """

    def __init__(
        self,
        settings: Settings,
        models: Iterable[Model] = (),
        *,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._settings = settings
        self._today = today
        self._own: dict[str, Model] = {_OFFLINE: self._offline()}
        for model in models:
            check_model_name(model.info.name)
            _check_currency(model.info.price.asset, settings.currency, model.info.name)
            self._own[model.info.name] = model
        self._resolved: dict[str, tuple[date, Model]] = {}
        self._upstreams: dict[str, Upstream] = {}
        self._compared: dict[tuple[str, str, str], tuple[Price, Price] | None] = {}
        self._compared_on: date | None = None
        self._names_by_id: dict[str, str] = {}
        self._check_names()

    def resolve(self, name: str) -> Model:
        """The model with this name or id, ready to be asked.

        Raises:
            ModelNotSupported: nobody serves it.
            ModelNotPriced: it has no price.
            CurrencyMismatch: its only price is in another currency than the accounts.
        """
        name = self._name_of(name)
        if name in self._own:
            return self._own[name]
        today = self._today()
        day, model = self._resolved.get(name, (None, None))
        if model is None or day != today:
            model = self._upstream_model(name)
            if len(self._resolved) >= _REMEMBERED_MAX:
                self._resolved.clear()
            self._resolved[name] = (today, model)
        return model

    def everywhere(self, name: str) -> tuple[Model, ...]:
        """The model with this name or id at each upstream that serves it, what ``resolve`` finds first.

        Raises what ``resolve`` does.
        """
        first = self.resolve(name)
        name = first.info.name
        if name in self._own:
            return (first,)
        serving = [
            at for at, each in self._settings.upstreams.items() if each.upstream_name(name) is not None
        ]
        return (first, *(self._upstream_model(name, at) for at in serving if at != first.info.provider))

    def __contains__(self, name: str) -> bool:
        """Whether anybody serves the model with this name or id, priced or not."""
        name = self._name_of(name)
        return name in self._own or self._settings.upstream_of(name) is not None

    @property
    def upstreams(self) -> Iterable[Upstream]:
        """Those that were asked so far."""
        return self._upstreams.values()

    def forwarding(self, name: str) -> tuple[Upstream, str] | None:
        """Whom to forward requests for this model or id to, and what it is called there.

        ``None``: it is one of ours, and answers in this process.
        """
        name = self._name_of(name)
        provider = None if name in self._own else self._settings.upstream_of(name)
        if provider is None:
            return None
        return self._upstream(provider), self._settings.upstreams[provider].upstream_name(name) or name

    def info(self, name: str) -> ModelInfo:
        """Price, limits and APIs of the model with this name or id; raises what ``resolve`` does."""
        name = self._name_of(name)
        return self._own[name].info if name in self._own else self._upstream_info(name)

    def list(self) -> tuple[ModelInfo, ...]:
        """Every model that is configured by name and has a price, sorted by name."""
        found = []
        for name in sorted(self._names()):
            try:
                found.append(self.info(name))
            except (ModelNotPriced, CurrencyMismatch):
                continue  # what has no price is not sold; asking for it says so
        return tuple(found)

    def compared_prices(self, asked: str, upstream: str, answered: str) -> tuple[Price, Price] | None:
        """The prices of two models to compare, where ``upstream`` says that the other one has answered.

        ``answered`` is a name of the upstream's. Own prices are compared with own prices, the price book's
        with the price book's; ``None`` where it is the same model or one that has no price (spec P2).
        """
        today = self._today()
        if self._compared_on != today or len(self._compared) >= _REMEMBERED_MAX:
            self._compared_on, self._compared = today, {}
        key = (asked, upstream, answered)
        if key not in self._compared:
            self._compared[key] = self._prices_to_compare(*key)
        return self._compared[key]

    def _prices_to_compare(self, asked: str, upstream: str, answered: str) -> tuple[Price, Price] | None:
        settings = self._settings.upstreams[upstream]
        names = [answered, (settings.prefix or "") + answered]
        name = next((each for each in names if settings.upstream_name(each) is not None), answered)
        own_name = self._priced_as(name)
        if asked in (name, own_name):
            return None
        own = self._settings.prices.get(own_name)
        quoted = self.info(asked).price
        if own is not None:
            return quoted, _own_price(own, self._settings)
        book = self._book_entry(name, upstream)
        if book is None or book.price.asset != quoted.asset:
            return None
        asked_book = self._book_entry(asked, upstream)
        return (quoted if asked_book is None else asked_book.price), book.price

    def _priced_as(self, answered: str) -> str:
        """The name in ``[prices]`` that an upstream's name means: in its case, undated, without a vendor."""
        bare = _DATED.sub("", answered.casefold())
        meant = (answered.casefold(), bare, bare.rpartition("/")[2])
        folded = {name.casefold(): name for name in self._settings.prices}
        return next((folded[each] for each in meant if each in folded), answered)

    def fallbacks(self, name: str) -> tuple[str, ...]:
        """The models to try, in order, when this one fails (spec C12)."""
        return self._settings.fallbacks_of(self._name_of(name))

    async def aclose(self) -> None:
        """Close the connections to every upstream."""
        upstreams, self._upstreams, self._resolved = self._upstreams, {}, {}
        for upstream in upstreams.values():
            await upstream.aclose()

    def _names(self) -> set[str]:
        """All names that are configured; a prefix serves more, which cannot be listed."""
        listed = (name for upstream in self._settings.upstreams.values() for name in upstream.models)
        return {*self._own, *listed, *self._settings.prices}

    def _name_of(self, name_or_id: str) -> str:
        if not name_or_id.isprintable():  # it stands in every line of a statement, which line breaks end
            raise ModelNotSupported(name_or_id, tuple(sorted(self._names())))
        if not _MODEL_ID.fullmatch(name_or_id.lower()):
            return name_or_id
        if not self._names_by_id:
            self._names_by_id = {model_id(name): name for name in self._names()}
        name = self._names_by_id.get(name_or_id.lower())
        if name is None:
            raise ModelNotSupported(name_or_id, tuple(sorted(self._names())))
        return name

    def _offline(self) -> Model:
        price = self._settings.prices.get(_OFFLINE)
        own_price = _own_price(price, self._settings) if price is not None else None
        return OfflineModel(self._settings.currency, price=own_price)

    def _upstream_model(self, name: str, at: str | None = None) -> Model:
        # Whoever never asks an upstream never waits for an HTTP client to be imported.
        from prepaid.models.openai_compatible import OpenAICompatibleModel  # noqa: PLC0415
        from prepaid.models.retrying import RetryingModel  # noqa: PLC0415

        info = self._upstream_info(name, at)
        upstream = self._upstream(info.provider)
        upstream_name = upstream.settings.upstream_name(name) or name
        return RetryingModel(
            OpenAICompatibleModel(info, upstream, upstream_name), upstream.settings.retries_max
        )

    def _upstream(self, name: str) -> Upstream:
        from prepaid.models.upstream import Upstream  # noqa: PLC0415 -- as above

        found = self._upstreams.get(name)
        if found is None:  # two threads may come here at once; one of theirs is kept
            made = Upstream(name, self._settings.upstreams[name])
            if made.settings.output_limit_field is None and self._provider(name) in _KNOW_BOTH_LIMITS:
                made.limit_field = None
            found = self._upstreams.setdefault(name, made)
        return found

    def _upstream_info(self, name: str, at: str | None = None) -> ModelInfo:
        upstream = at or self._settings.upstream_of(name)
        if upstream is None:
            raise ModelNotSupported(name, tuple(sorted(self._names())))
        own, entry = self._settings.prices.get(name), self._book_entry(name, upstream)
        context = (own.context_tokens_max if own else None) or self._book_context(name, upstream)
        images = (own.image_tokens_max if own else None) or self._image_tokens_max(upstream, own is None)
        apis = _READS_ONLY if entry is not None and not entry.answers else _TEXT_APIS
        if images and "chat" in apis:
            apis |= {"images"}
        return ModelInfo(
            name=name,
            price=self._own_price(name, upstream, own) if own else self._book_price(name, upstream, entry),
            context_tokens_max=context,
            output_tokens_max=(own.output_tokens_max if own else None) or context,
            apis=(own.apis if own else None) or apis,
            provider=upstream,
            image_tokens_max=images or IMAGE_TOKENS_DEFAULT,
            is_billed=True,
            stops_when_left=self._settings.upstreams[upstream].stops_when_left,
            image_formula=formula_of(self._provider(upstream), self._named(name, upstream)),
            dialect=self._settings.upstreams[upstream].dialect,
            allow_fields=self._settings.upstreams[upstream].allow_fields,
        )

    def _image_tokens_max(self, upstream: str, has_book_price: bool) -> int | None:
        """What an image costs there at most, in tokens; ``None`` where nobody says so."""
        configured = self._settings.upstreams[upstream].image_tokens_max
        is_known = has_book_price and self._provider(upstream) in _BILL_IMAGES_AS_TOKENS
        return configured or (IMAGE_TOKENS_DEFAULT if is_known else None)

    def _own_price(self, name: str, upstream: str, own: PriceSettings) -> Price:
        fees = {"per_request", "per_search"} & own.model_fields_set
        if not fees and searches_by_itself(self._named(name, upstream)):
            raise ModelNotPriced(name, SEARCHES)
        return _own_price(own, self._settings)

    def _book_price(self, name: str, upstream: str, entry: BookEntry | None) -> Price:
        if entry is None:
            raise ModelNotPriced(name, self._hole(name, upstream))
        _check_currency(entry.price.asset, self._settings.currency, name)
        return entry.price

    def _book_entry(self, name: str, upstream: str) -> BookEntry | None:
        provider, named = self._provider(upstream), self._named(name, upstream)
        return None if provider is None else shipped_book().find(provider, named, self._today())

    def _book_context(self, name: str, upstream: str) -> int:
        provider, named = self._provider(upstream), self._named(name, upstream)
        known = None if provider is None else shipped_book().context_tokens_max(provider, named)
        return known or CONTEXT_TOKENS_DEFAULT

    def _hole(self, name: str, upstream: str) -> str:
        provider, named = self._provider(upstream), self._named(name, upstream)
        return "" if provider is None else shipped_book().hole(provider, named, self._today())

    def _named(self, name: str, upstream: str) -> str:
        return self._settings.upstreams[upstream].upstream_name(name) or name

    def _provider(self, upstream: str) -> str | None:
        """Whose prices in the price book hold there."""
        settings, book = self._settings.upstreams[upstream], shipped_book()
        found = settings.provider or book.provider_at(settings.base_url)
        return found or (upstream if upstream in book.providers else None)

    def _check_names(self) -> None:
        settings = self._settings
        named: list[tuple[tuple[str, ...], str]] = [(("default_model",), settings.default_model)]
        named += [(("prices", model), model) for model in settings.prices]
        for model, fallbacks in settings.fallbacks.items():
            named += [(("fallbacks", model), fallback) for fallback in (model, *fallbacks)]
        for name, upstream in settings.upstreams.items():
            named += [(("upstreams", name, "fallbacks"), fallback) for fallback in upstream.fallbacks]
            if upstream.provider is not None:
                _check_provider(settings, upstream.provider, name)
            for field in upstream.allow_fields:
                _check_allowed(settings, field, name)
        for place, model in named:
            if model not in self._own and settings.upstream_of(model) is None:
                raise ConfigError(
                    f"{settings.where(*place)} names {model!r}, which nobody serves.",
                    remedy=f"Add it to an upstream's models, or name {_OFFLINE!r}.",
                )


def _own_price(settings: PriceSettings, all_settings: Settings) -> Price:
    """A configured price in base units; that they are whole was checked when the settings were read."""
    decimals = all_settings.asset.decimals
    units = {key: int(amount.scaleb(decimals)) for key, amount in settings.amounts().items()}
    tier = PriceTier(
        input_above=0,
        input_per_million=units["input_per_million"],
        output_per_million=units["output_per_million"],
        cache_read_per_million=units.get("cache_read_per_million", units["input_per_million"]),
        cache_write_per_million=units.get("cache_write_per_million", units["input_per_million"]),
        cache_write_1h_per_million=units.get("cache_write_1h_per_million"),
    )
    return Price(
        all_settings.currency,
        settings.unit,
        (tier,),
        units["per_request"],
        per_search=units["per_search"],
        searches_max=settings.searches_max if units["per_search"] else 0,
    )


def check_model_name(name: str) -> None:
    """Refuse what no statement could carry: a model's name stands in every line, which line breaks end.

    Raises:
        ConfigError: it is no name of 1 to 256 printable characters.
    """
    if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise ConfigError(
            f"{name!r} is not a name for a model.", remedy=f"Use 1 to {NAME_LENGTH_MAX} printable characters."
        )


def _check_currency(found: str, wanted: str, model: str) -> None:
    if found != wanted:
        raise CurrencyMismatch(
            f"Model {model!r} is priced in {found}; the accounts are in {wanted}.",
            remedy=f'Add [prices."{model}"] to prepaid.toml, in {wanted}.',
        )


def _check_allowed(settings: Settings, field: str, upstream: str) -> None:
    twin = twin_of(field)
    if twin is not None:
        raise ConfigError(
            f"{settings.where('upstreams', upstream, 'allow_fields')} has {field!r}, which servers that"
            f" ignore case take for {twin!r}.",
            remedy="Leave it out.",
        )


def _check_provider(settings: Settings, provider: str, upstream: str) -> None:
    book = shipped_book()
    if provider not in book.providers:
        place = settings.where("upstreams", upstream, "provider")
        raise ConfigError(
            f"{place} is {provider!r}, which is not in the price book ({book.source}).",
            remedy=f"Use one of: {', '.join(book.providers)}.",
        )
