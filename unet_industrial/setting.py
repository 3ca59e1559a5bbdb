"""A dataclass field that explains itself: its default, help text and allowed values, from which flags are made.

A setting is described where it is defined, and nowhere else: `mask_generation.cli` reads name, default, help text,
choices and bounds of a flag from here. Imports nothing of this package, and no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Union

_KEY = "setting"
_UNCHANGED: Any = object()


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a field means to a user.

    Attributes:
        help: one sentence.
        flag: the flag's name where it is not that of the field.
        choices: allowed values; a mapping where the user writes another word: {"NHWC": "channels_last"}.
        low, high: bounds, checked when the command line is read; those that a dataclass checks itself need none here.
        shown: how the help text shows the default where the value itself explains little, as None does.
    """

    help: str
    flag: str = ""
    choices: Union[Sequence[Any], Mapping[str, Any], None] = None
    low: Optional[float] = None
    high: Optional[float] = None
    shown: str = ""

    @property
    def written(self) -> dict[str, Any]:
        """What the user writes → the value; empty where anything may be written."""
        if isinstance(self.choices, Mapping):
            return dict(self.choices)
        return {str(choice): choice for choice in self.choices or ()}


def setting(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field with a default and a description, see `Setting`."""
    return dataclasses.field(default=default, metadata={_KEY: Setting(help, **about)})


def same_setting(config: type, name: str, default: Any = _UNCHANGED) -> Any:
    """A field described as `name` is in another dataclass, with its default or another."""
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    about = field.metadata[_KEY]
    if default is _UNCHANGED:
        return dataclasses.field(default=field.default, metadata={_KEY: about})
    return dataclasses.field(default=default, metadata={_KEY: dataclasses.replace(about, shown="")})


def settings_of(config: type) -> Iterator[tuple[dataclasses.Field[Any], Setting]]:
    """The described fields of a dataclass, in order."""
    for field in dataclasses.fields(config):
        if _KEY in field.metadata:
            yield field, field.metadata[_KEY]
