"""What a user may set, checked by pydantic: version 2, or the 1.10 that kfp 1.8 needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from kedro_mlflow_metrics.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Model", "as_tuple", "changed", "checked", "settable", "validator"]

_ACCEPTED = {  # by pydantic's name of a type: a settings file is YAML, not Python
    "bool": "true or false",
    "dict": "a group of keys",
    "float": "a number",
    "int": "a whole number",
    "integer": "a whole number",
    "model": "a group of keys",
    "str": "text",
    "string": "text",
    "tuple": "a list",
}
_OLD = pydantic.VERSION.startswith("1.")


class Model(pydantic.BaseModel):
    """What a user may set: other names are errors, and nothing is changed afterwards."""

    if _OLD:

        class Config:
            """The same for pydantic 1."""

            extra = "forbid"
            frozen = True
    else:
        model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


Some = TypeVar("Some", bound=Model)


def validator(*fields: str, before: bool = False) -> Callable[[Any], Any]:
    """Decorate a class method that checks fields, before or after their types are."""
    if _OLD:
        return pydantic.validator(*fields, pre=before, allow_reuse=True)  # type: ignore[deprecated, unused-ignore] # pydantic 1's own way
    return pydantic.field_validator(*fields, mode="before" if before else "after")


@classmethod  # type: ignore[misc] # of the models that a `validator` makes of it
def as_tuple(cls: type[Model], given: object) -> object:  # noqa: ARG001 - as pydantic calls it
    """Take one text for a list of one."""
    return (given,) if isinstance(given, str) else given


def checked(model: type[Some], given: Mapping[Any, Any], where: str, **groups: type[Model]) -> Some:
    """Check what a user set."""
    text = {str(name): value for name, value in given.items()}
    try:
        return model.parse_obj(text) if _OLD else model.model_validate(text)
    except pydantic.ValidationError as exc:
        first = (exc.errors() if _OLD else exc.errors(include_url=False, include_input=False))[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] not in ("extra_forbidden", "value_error.extra"):
        accepted = _ACCEPTED.get(first["type"].removeprefix("type_error.").partition("_")[0])
        if accepted:
            raise SettingsError(f"{where}: {name!r} is {_shown(given, first['loc'])}", f"accepted: {accepted}")
        raise SettingsError(f"{where}: {name!r}: {first['msg'].removeprefix('Value error, ')}")
    known = settable(groups.get(path[0], model))
    hint = did_you_mean(path[-1], known) or f"accepted: {', '.join(known)}"
    raise SettingsError(f"{where}: there is no setting {name!r}", hint)


def _shown(given: Any, path: Sequence[Any]) -> str:  # noqa: ANN401 - whatever YAML gives
    """Show what came, but no group or list: a password may be in it."""
    for part in path:
        given = given[part] if isinstance(given, Mapping | list | tuple) else given
    if isinstance(given, Mapping | list | tuple):
        return _ACCEPTED["dict" if isinstance(given, Mapping) else "tuple"]
    return "empty" if given is None else repr(given)


def settable(model: type[Model]) -> list[str]:
    """Return what may be set."""
    fields: dict[str, Any] = dict(getattr(model, "__fields__" if _OLD else "model_fields"))
    return [name for name, field in fields.items() if not (field.field_info if _OLD else field).exclude]


def changed(model: Some, **values: Any) -> Some:  # noqa: ANN401 - any field's
    """Return a copy with other values, which are not checked."""
    return model.copy(update=values) if _OLD else model.model_copy(update=values)
