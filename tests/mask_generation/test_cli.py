"""The table of subcommands: only the chosen one's flags exist, mistakes are explained, exit codes are as documented."""

from __future__ import annotations

import dataclasses
import signal
import sys
import types
from typing import Optional

import pytest
from absl import flags

from mask_generation import cli
from unet_industrial.setting import setting


class Trouble(Exception):
    pass


@pytest.fixture
def subcommands(monkeypatch):
    bake = types.ModuleType("drawn_bake")
    bake.seen = []
    bake.USER_ERRORS = (Trouble,)

    def define_flags():
        flags.DEFINE_integer("minutes", 20, "How long.", lower_bound=1)
        flags.DEFINE_boolean("fan", False, "Hot air.")
        flags.DEFINE_string("dish", None, "What to bake.")
        flags.mark_flag_as_required("dish")
        cli.alias("plate", "dish")
        cli.alias("mins", "minutes", quiet=True)

    def main(arguments):
        bake.seen.append((flags.FLAGS.minutes, flags.FLAGS.fan, flags.FLAGS.dish, arguments))
        if flags.FLAGS.dish == "stone":
            raise Trouble("stone does not bake")
        return cli.OK

    bake.define_flags, bake.main = define_flags, main
    wash = types.ModuleType("drawn_wash")
    wash.define_flags = lambda: flags.DEFINE_integer("minutes", 5, "How long to wash.")
    wash.main = lambda arguments: cli.FAILED
    monkeypatch.setitem(sys.modules, "drawn_bake", bake)
    monkeypatch.setitem(sys.modules, "drawn_wash", wash)
    return bake, [
        cli.Subcommand("bake", "Bake it.", "drawn_bake", "FILE ..."),
        cli.Subcommand("wash", "Wash up.", "drawn_wash", earlier_name="rinse"),
    ]


def run(subcommands, *argv):
    return cli.run("kitchen", "A kitchen.", subcommands[1], argv)


def test_flags_and_arguments_reach_the_subcommand_and_are_gone_after(subcommands):
    assert run(subcommands, "bake", "--dish=pie", "--fan", "a", "--minutes", "3", "b") == cli.OK
    assert run(subcommands, "bake", "--dish=pie") == cli.OK  # nothing is left of the first call
    assert subcommands[0].seen == [(3, True, "pie", ["a", "b"]), (20, False, "pie", [])]
    assert "dish" not in flags.FLAGS


def test_exit_code_of_the_subcommand_is_passed_on(subcommands):
    assert run(subcommands, "wash") == cli.FAILED


@pytest.mark.parametrize(
    "argv, message",
    [
        (["bake", "--dish=pie", "--minuts=3"], "unknown flag --minuts; did you mean --minutes?"),
        (["bake", "--dish=pie", "--minutes=soon"], "minutes"),
        (["bake", "--dish=pie", "--minutes=0"], "minutes"),
        (["bake"], "dish"),
        (["wash", "--dish=pie"], "unknown flag --dish"),
        (["wash", "--verbosity=1"], "unknown flag --verbosity"),
        (["wash", "plate"], "takes flags only"),
        (["backe"], "did you mean 'bake'?"),
        (["xyz"], "there are: bake, wash"),
    ],
)
def test_wrong_command_lines_exit_2_with_the_reason(subcommands, capsys, argv, message):
    assert run(subcommands, *argv) == cli.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not subcommands[0].seen


def test_user_errors_are_one_line_and_exit_1(subcommands, capsys):
    assert run(subcommands, "bake", "--dish=stone") == cli.FAILED
    assert capsys.readouterr().err == "kitchen bake: stone does not bake\n"


def test_help_lists_the_subcommands_own_flags_with_defaults(subcommands, capsys):
    assert run(subcommands, "bake", "--help") == cli.OK
    text = capsys.readouterr().out
    assert "--minutes=int" in text
    assert "[default: 20]" in text
    assert "--[no]fan" in text
    assert "--verbosity" not in text
    assert run(subcommands, "--help") == cli.OK
    assert "Wash up." in capsys.readouterr().out


def test_no_command_shows_the_overview_as_a_usage_error(subcommands, capsys):
    assert run(subcommands) == cli.USAGE
    assert "bake" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--plate=pie"], ["--plate", "pie"], ["--plate=cake", "--plate=pie"]])
def test_an_earlier_name_sets_the_flag_and_is_reported_in_one_line(subcommands, capsys, words):
    assert run(subcommands, "bake", *words) == cli.OK
    assert subcommands[0].seen == [(20, False, "pie", [])]
    assert capsys.readouterr().err == "kitchen bake: --plate is now --dish\n"


def test_a_name_that_is_here_to_stay_is_not_reported(subcommands, capsys):
    assert run(subcommands, "bake", "--dish=pie", "--mins=3") == cli.OK
    assert subcommands[0].seen == [(3, False, "pie", [])]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--plate=pie", "--dish=cake"], ["--dish=cake", "--plate=pie"]])
def test_both_names_with_different_values_are_a_usage_error(subcommands, capsys, words):
    assert run(subcommands, "bake", *words) == cli.USAGE
    assert "--plate is now --dish: both are given" in capsys.readouterr().err
    assert not subcommands[0].seen


def test_both_names_with_the_same_value_are_fine(subcommands):
    assert run(subcommands, "bake", "--plate=pie", "--dish=pie") == cli.OK


def test_earlier_names_are_neither_listed_nor_proposed(subcommands, capsys):
    assert run(subcommands, "bake", "--help") == cli.OK
    assert "--plate" not in capsys.readouterr().out
    assert run(subcommands, "bake", "--plat=pie") == cli.USAGE
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("name, code, by", [("INT", 130, ""), ("TERM", 143, " (SIGTERM)"), ("HUP", 129, " (SIGHUP)")])
def test_whoever_stops_it_is_told_what_is_kept(subcommands, capsys, name, code, by):
    number = getattr(signal, f"SIG{name}")
    tidied = []

    def main(arguments):
        try:
            signal.raise_signal(number)
        finally:
            tidied.append(signal.getsignal(number))

    subcommands[0].main = main
    before = signal.getsignal(number)
    assert run(subcommands, "bake", "--dish=pie") == code
    assert capsys.readouterr().err == f"kitchen bake: interrupted{by}\n"
    assert tidied in (
        [signal.SIG_DFL],
        [signal.SIG_IGN],
    )  # a second one kills, but a closed terminal has no more to say
    assert signal.getsignal(number) == before
    subcommands[0].kept = lambda: f"Half of {flags.FLAGS.dish} is kept."
    assert run(subcommands, "bake", "--dish=pie") == code
    assert capsys.readouterr().err == f"kitchen bake: interrupted{by}. Half of pie is kept.\n"


def test_signals_that_are_ignored_or_handled_elsewhere_are_left_alone(subcommands):
    heard = []
    subcommands[0].main = lambda arguments: [signal.raise_signal(n) for n in (signal.SIGHUP, signal.SIGTERM)] and cli.OK
    before = (
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, lambda *_: heard.append(1)),
    )
    try:
        assert run(subcommands, "bake", "--dish=pie") == cli.OK
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert heard == [1]


def test_what_the_system_refuses_is_one_line(subcommands, capsys, tmp_path):
    subcommands[0].main = lambda arguments: (tmp_path / "none" / "a").write_text("") and cli.OK
    assert run(subcommands, "bake", "--dish=pie") == cli.FAILED
    assert capsys.readouterr().err == f"kitchen bake: {tmp_path / 'none' / 'a'}: No such file or directory\n"


def test_an_earlier_name_of_a_subcommand_runs_it(subcommands, capsys):
    assert run(subcommands, "rinse") == cli.FAILED
    assert capsys.readouterr().err == "kitchen: rinse is now wash\n"


@dataclasses.dataclass(frozen=True)
class Oven:
    """Drawn settings of every kind."""

    racks: int = setting(2, "Racks in use.", low=1)
    degrees: Optional[float] = setting(None, "Heat.", shown="as the dish needs")
    mode: str = setting("both", "Where from.", flag="heat", choices={"TOP": "upper", "ALL": "both"})
    fan: bool = setting(False, "Hot air.")
    cakes: tuple[str, ...] = setting(("plum", "nut"), "Which, in order.")
    hidden: str = "value"  # not described, so not a flag

    def __post_init__(self):
        if self.fan and self.racks > 3:
            raise ValueError("racks=4: the fan reaches three")


@pytest.fixture
def oven(subcommands):
    module = sys.modules["drawn_wash"]
    module.define_flags = lambda: cli.define(Oven)
    module.made = []
    module.main = lambda arguments: module.made.append((cli.make(Oven), cli.given(Oven))) or cli.OK
    return lambda *words: (run(subcommands, "wash", *words), *module.made[-1:])


def test_flags_come_from_the_fields_of_a_dataclass_and_become_it_again(oven):
    assert oven() == (cli.OK, (Oven(), {}))
    assert oven("--racks=3", "--heat=TOP", "--cakes=egg", "--fan", "--degrees=180") == (
        cli.OK,
        (
            Oven(3, 180.0, "upper", True, ("egg",)),
            {"racks": 3, "degrees": 180.0, "mode": "upper", "fan": True, "cakes": ("egg",)},
        ),
    )


def test_help_shows_the_fields_defaults(oven, capsys):
    oven("--help")
    text = capsys.readouterr().out
    for part in ("Racks in use. [default: 2]", "[default: as the dish needs]", "[default: ALL]", "[default: plum,nut]"):
        assert part in text
    assert "hidden" not in text


@pytest.mark.parametrize(
    "words, message",
    [(["--racks=0"], "racks"), (["--heat=LOW"], "<TOP|ALL>"), (["--fan", "--racks=4"], "the fan reaches three")],
)
def test_values_that_a_dataclass_refuses_are_usage_errors(oven, capsys, words, message):
    assert oven(*words)[0] == cli.USAGE
    assert message in capsys.readouterr().err
