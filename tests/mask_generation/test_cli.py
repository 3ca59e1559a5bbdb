"""The table of subcommands: only the chosen one's flags exist, mistakes are explained, exit codes are as documented."""

from __future__ import annotations

import sys
import types

import pytest
from absl import flags

from mask_generation import cli


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
        cli.Subcommand("wash", "Wash up.", "drawn_wash"),
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
