"""Subcommands and their flags, for `deepfake-unet`, `python -m runtime` and `python -m mask_generation` alike.

A subcommand is a module with `define_flags()`, which defines absl flags, `main(arguments)`, which reads `flags.FLAGS`
and returns the exit code, and optionally `USER_ERRORS`, exceptions that the user can do something about (they print as
one line), and `kept()`, a sentence for whoever stopped it half way: what is kept. Only the chosen subcommand's module
is imported and only its flags are defined, so `--help` lists nothing else and takes no time, and a flag of another
subcommand is an error, not ignored.

A flag is defined once, at the dataclass field that it sets (`unet_industrial.setting`): `define` makes flags of such
fields, `make` and `given` turn them into the dataclass again. The last functions define the few flags that many
subcommands have and no dataclass holds.

Exit codes: 0 all fine; 1 something failed, or some inputs did; 2 the command line is wrong; 130 interrupted
(Ctrl-C), 143 by SIGTERM, 129 by SIGHUP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Optional, TypeVar

from absl import flags

from unet_industrial.setting import Setting, settings_of

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C; `kill`, Slurm, Kubernetes, a shutdown; a closed terminal
_HELP = ("--help", "-h", "-help", "--helpfull", "--helpshort", "help")
_BUILT_IN = ("flagfile", "undefok")  # absl's own way to read flags from a file
ConfigT = TypeVar("ConfigT")


class UsageError(Exception):
    """The command line is wrong; the message says how. Exit code 2."""


class Failure(Exception):
    """The work cannot be done, and it is not a bug; the message says what to do. Exit code 1."""


class Stopped(KeyboardInterrupt):
    """A signal of `STOP_SIGNALS` asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Subcommand(NamedTuple):
    """One row of a table of subcommands: a module to run, or a table of its own (`mask audit`).

    Attributes:
        module: dotted name of the module with `define_flags` and `main`; empty for a table.
        arguments: how the usage line shows what is not a flag; empty if the subcommand takes flags only.
        subcommands: the rows of a table.
        default: of a table, the row that is meant where flags follow at once, or nothing.
        earlier_name: accepted too, and reported.
    """

    name: str
    summary: str
    module: str = ""
    arguments: str = ""
    subcommands: tuple[Subcommand, ...] = ()
    default: str = ""
    earlier_name: str = ""


def run(
    program: str,
    summary: str,
    subcommands: Sequence[Subcommand],
    argv: Optional[Sequence[str]] = None,
    default: str = "",
) -> int:
    """Run the subcommand that `argv` names and return the exit code.

    Args:
        program: how the user starts it, for usage lines.
        argv: the command line without the program's name; None: that of this process.
        default: the subcommand that is meant where `argv` names none; empty: the overview is shown.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _HELP:
        print(overview(program, summary, subcommands, default))
        return OK
    if default and (not words or words[0].startswith("-")):
        words.insert(0, default)
    if not words:
        print(overview(program, summary, subcommands, default))
        return USAGE
    chosen = next((each for each in subcommands if words[0] in (each.name, each.earlier_name or each.name)), None)
    if chosen is None:
        names = [candidate.name for candidate in subcommands]
        close = difflib.get_close_matches(words[0], names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
        return _complain(program, f"no subcommand {words[0]!r}; {hint}", USAGE)
    if words[0] == chosen.earlier_name:
        print(f"{program}: {words[0]} is now {chosen.name}", file=sys.stderr)
    if chosen.subcommands:
        return run(f"{program} {chosen.name}", chosen.summary, chosen.subcommands, words[1:], chosen.default)
    return _run_one(f"{program} {chosen.name}", chosen, words[1:])


def walk(subcommands: Sequence[Subcommand]) -> Iterator[tuple[str, Subcommand]]:
    """(`mask audit`, its row) of every subcommand that can be run, tables within tables included."""
    for each in subcommands:
        if each.subcommands:
            yield from ((f"{each.name} {name}", row) for name, row in walk(each.subcommands))
        else:
            yield each.name, each


@contextlib.contextmanager
def defined_flags(define_flags: Callable[[], None]) -> Iterator[set[str]]:
    """Names of the flags that `define_flags` defines; afterwards `flags.FLAGS` is as it was."""
    from absl import logging  # noqa: F401  defines its flags now, so that a subcommand may define one of the same name

    known_before = {name: flags.FLAGS[name] for name in flags.FLAGS}
    try:
        define_flags()
        yield {name for name in flags.FLAGS if flags.FLAGS[name] is not known_before.get(name)}
    finally:
        for name in list(flags.FLAGS):
            if flags.FLAGS[name] is not known_before.get(name):
                delattr(flags.FLAGS, name)
        for name, flag in known_before.items():
            if name not in flags.FLAGS:
                flags.FLAGS[name] = flag


def _run_one(program: str, subcommand: Subcommand, words: list[str]) -> int:
    module = importlib.import_module(subcommand.module)
    try:
        with defined_flags(module.define_flags) as own:
            before_dashes = words[: words.index("--")] if "--" in words else words
            if any(word in _HELP[:-1] for word in before_dashes):
                print(subcommand_help(program, subcommand, own))
                return OK
            rest = _parse(program, words, own)
            if rest and not subcommand.arguments:
                raise UsageError(f"{rest[0]!r} is not expected: this subcommand takes flags only")
            try:
                with stop_signals():
                    return module.main(rest)
            except KeyboardInterrupt as stop:
                return _complain_stopped(program, stop, module)
    except UsageError as error:
        return _complain(program, f"{error}\nSee `{program} --help`.", USAGE)
    except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Failure, *getattr(module, "USER_ERRORS", ())) as error:
        return _complain(program, str(error), FAILED)
    except OSError as error:  # a full disk, a folder that is read-only or no folder
        return _complain(program, f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """While the block runs, the first of `STOP_SIGNALS` raises `Stopped` in it, so that it can tidy up; a second kills.

    Signals that somebody else handles, or that are ignored (`nohup`), are left alone.
    """

    def stop(number: int, _: Any) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN if each == signal.SIGHUP else signal.SIG_DFL)
        raise Stopped(number)

    ours: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in STOP_SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                ours[number] = signal.getsignal(number)
    try:
        for number in ours:
            signal.signal(number, stop)
        yield
    finally:
        for number, before in ours.items():
            signal.signal(number, before)


def _complain_stopped(program: str, stop: KeyboardInterrupt, module: Any) -> int:
    number = getattr(stop, "number", signal.SIGINT)
    by = "" if number == signal.SIGINT else f" ({signal.Signals(number).name})"
    kept = getattr(module, "kept", lambda: "")()
    with contextlib.suppress(OSError):  # the terminal may be gone
        _complain(program, f"interrupted{by}{'. ' if kept else ''}{kept}", FAILED)
    return INTERRUPTED - signal.SIGINT + number


def _parse(program: str, words: list[str], own: set[str]) -> list[str]:
    """Set `flags.FLAGS` from the words; returns what is not a flag.

    Raises:
        UsageError: a flag is unknown, misspelt, of another subcommand, or has an impossible value.
    """
    flags.FLAGS.unparse_flags()
    listed = sorted(name for name in own if not isinstance(flags.FLAGS[name], Alias))
    foreign = {name: flags.FLAGS[name].present for name in flags.FLAGS if name not in own}
    try:
        rest = flags.FLAGS([program, *words])[1:]
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, listed, 2)
        hint = f"; did you mean {' or '.join('--' + name for name in close)}?" if close else ""
        raise UsageError(f"unknown flag --{error.flagname}{hint}") from error
    except (flags.Error, OSError) as error:
        raise UsageError(str(error)) from error
    for name, present in foreign.items():  # flags that libraries define globally
        if flags.FLAGS[name].present > present and name not in _BUILT_IN:
            raise UsageError(f"unknown flag --{flags.FLAGS[name].name}")
    for name in sorted(own):
        _report_earlier_name(program, flags.FLAGS[name])
    return rest


def _report_earlier_name(program: str, flag: Any) -> None:
    """One line on stderr if an earlier name was used.

    Raises:
        UsageError: both names were given, with different values.
    """
    for target, value in dict(getattr(flag, "moved", ())).items():
        if value != target.value:
            raise UsageError(f"--{flag.name} is now --{target.name}: both are given, with different values")
        if not getattr(flag, "quiet", False):
            print(f"{program}: --{flag.name} is now --{target.name}", file=sys.stderr)


def overview(program: str, summary: str, subcommands: Sequence[Subcommand], default: str = "") -> str:
    """What `--help` without a subcommand prints."""
    width = max(len(each.name) for each in subcommands)
    lines = [f"  {each.name:<{width}}  {each.summary}" for each in subcommands]
    text = "\n".join([summary, "", f"Usage: {program} SUBCOMMAND [--flag=value ...]", "", "Subcommands:", *lines, ""])
    if default:
        text += f"\n`{program}` without a subcommand is `{program} {default}`."
    return text + f"\n`{program} SUBCOMMAND --help` lists the flags of a subcommand."


def subcommand_help(program: str, subcommand: Subcommand, names: set[str]) -> str:
    """What `SUBCOMMAND --help` prints: the subcommand's own flags, with their defaults."""
    listed = [flags.FLAGS[name] for name in sorted(names) if not isinstance(flags.FLAGS[name], Alias)]
    usage = f"Usage: {program} [--flag=value ...]{' ' + subcommand.arguments if subcommand.arguments else ''}"
    return "\n".join([subcommand.summary, "", usage, "", *map(_describe, listed)])


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    allowed = getattr(flag.parser, "enum_values", None)
    kind = "" if flag.boolean else f"={'|'.join(map(str, allowed)) if allowed else flag.flag_type()}"
    text = flag.help or ""
    if "[default:" not in text:
        text += f" [default: {_shown(flag.default)}]" if flag.default not in (None, "", []) else ""
    wrapped = textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False)
    return f"  {name}{kind}\n{wrapped}"


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _complain(program: str, message: str, code: int) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return code


def numbers(name: str) -> dict[str, float]:
    """The list flag `name` of NAME=NUMBER as a dictionary.

    Raises:
        UsageError: an item is not of that form.
    """
    found = {}
    for item in flags.FLAGS[name].value:
        key, _, number = item.partition("=")
        try:
            found[key] = float(number)
        except ValueError as error:
            raise UsageError(f"--{name}={item}: NAME=NUMBER is needed") from error
    return found


def folders(name: str) -> dict[str, str]:
    """The list flag `name` of NAME=DIR as a dictionary.

    Raises:
        UsageError: an item is not of that form, a name stands twice, or a folder is not there.
    """
    found: dict[str, str] = {}
    for item in flags.FLAGS[name].value:
        key, _, folder = item.partition("=")
        if not key or not folder or key in found:
            raise UsageError(f"--{name}={item}: NAME=DIR is needed, each name once")
        if not os.path.isdir(folder):
            raise UsageError(f"--{name}={item}: there is no folder {folder}")
        found[key] = folder
    return found


class Alias(flags.Flag):
    """An earlier name of a flag: it sets the flag, is not listed in the help, and its use is reported.

    Attributes:
        moved: what was handed over: the flag and the value, in order.
        quiet: the name is here to stay, so nothing is reported.
    """

    def __init__(self, name: str, target: flags.Flag, quiet: bool) -> None:
        self.moved: list[tuple[flags.Flag, Any]] = []
        self.target, self.quiet = target, quiet
        help_string = f"An earlier name of --{target.name}."
        super().__init__(target.parser, target.serializer, name, None, help_string, boolean=target.boolean)

    def parse(self, argument: Any) -> None:
        super().parse(argument)
        hand_over(self, self.target, argument)


def alias(name: str, target: str, quiet: bool = False) -> None:
    """Accept `name` as another name of the flag `target`."""
    flags.DEFINE_flag(Alias(name, flags.FLAGS[target], quiet))


def hand_over(old: Any, target: flags.Flag, argument: Any) -> None:
    """Set `target` from what was given as `old`, unless it was given by its own name too; `_parse` compares the two."""
    set_by_us = sum(flag is target for flag, _ in old.moved)
    old.moved.append((target, target.parser.parse(argument)))
    if target.present == set_by_us:
        target.parse(argument)


def _chosen(config: type, names: tuple[str, ...]) -> Iterator[tuple[dataclasses.Field[Any], Setting, str]]:
    """(field, setting, name of the flag) of the named fields of a dataclass; of all that are described if none is."""
    unknown = set(names) - {field.name for field, _ in settings_of(config)}
    assert not unknown, f"{config.__name__} describes no {unknown}"
    for field, setting in settings_of(config):
        if not names or field.name in names:
            yield field, setting, setting.flag or field.name


def define(config: type, *names: str, **defaults: Any) -> None:
    """Define flags for the settings of a dataclass.

    Args:
        names: of the fields meant; none: all that are described.
        defaults: of single fields, where a subcommand needs another one.
    """
    for field, setting, name in _chosen(config, names):
        default = defaults.get(field.name, field.default)
        text = (
            f"{setting.help} [default: {setting.shown}]" if setting.shown and default is field.default else setting.help
        )
        kind = str(field.type).replace("Optional[", "").replace("]", "").replace(" | None", "")
        bounds = {"lower_bound": setting.low, "upper_bound": setting.high}
        if setting.choices is not None:
            words = setting.written
            written = next((word for word, value in words.items() if value == default), None)
            flags.DEFINE_enum(name, written, list(words), text)
        elif kind == "bool":
            flags.DEFINE_boolean(name, default, text)
        elif kind == "int":
            flags.DEFINE_integer(name, default, text, **bounds)
        elif kind == "float":
            flags.DEFINE_float(name, default, text, **bounds)
        elif kind.startswith("tuple"):
            flags.DEFINE_list(name, [str(item) for item in default], text)
        else:
            flags.DEFINE_string(name, default, text)


def values(config: type, *names: str) -> dict[str, Any]:
    """{field: value} of the flags of a dataclass that are defined."""
    found = {}
    for field, setting, name in _chosen(config, names):
        if name in flags.FLAGS:
            value = flags.FLAGS[name].value
            if setting.choices is not None and value is not None:
                value = setting.written[value]
            found[field.name] = tuple(value) if isinstance(value, list) else value
    return found


def given(config: type, *names: str) -> dict[str, Any]:
    """{field: value} of the flags that the user gave, as opposed to those left at their defaults."""
    present = {
        field.name for field, _, name in _chosen(config, names) if name in flags.FLAGS and flags.FLAGS[name].present
    }
    return {name: value for name, value in values(config, *names).items() if name in present}


def make(config: type[ConfigT], *names: str, **others: Any) -> ConfigT:
    """The dataclass that the flags describe.

    Args:
        names: fields to take from flags; none: all that have one.
        others: fields that have none.

    Raises:
        UsageError: a value, or a combination of values, is impossible.
    """
    try:
        return config(**{**values(config, *names), **others})
    except ValueError as error:
        raise UsageError(str(error)) from error


def define_output(help: str, *old_names: str, default: Any = None) -> None:
    """--output: where what is written goes; required unless it has a default."""
    flags.DEFINE_string("output", default, help)
    if default is None:
        flags.mark_flag_as_required("output")
    for name in old_names:
        alias(name, "output")


def define_overwrite() -> None:
    flags.DEFINE_boolean("overwrite", False, "Delete what an earlier run left in --output, and begin anew.")


def define_records(required: bool = False) -> None:
    flags.DEFINE_string("records", None, "Folder of records, as `mask generate` writes them.")
    if required:
        flags.mark_flag_as_required("records")
