"""Find the command that `geoseg …` names, and run it as `python -m geoseg.<command>` does."""

from __future__ import annotations

import difflib
import runpy
import sys
import textwrap
from collections.abc import Sequence

from geoseg import __version__
from geoseg.commands import completion, help, schema, verbs
from geoseg.errors import readable
from geoseg.outputs import terminal

HELP = ("-h", "--help")
EXTRA = {
    "completion": "Write the completion of commands and keys for a shell: bash or zsh.",
    "help": "Show this list, or the keys of a command: geoseg help train.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Returns: the exit status, 0 or 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words[0].replace("-", "_") if words and not words[0].startswith("-") else ""
    if verb in verbs.VERBS and not set(HELP) & set(words):
        sys.argv = [f"geoseg {verb}", *words[1:]]
        runpy.run_module(f"geoseg.{verb}", run_name="__main__", alter_sys=True)
        return 0
    terminal.settle()
    if verb == "help" and len(words) > 1:
        words = [words[1], "--help"]
        verb = words[0].replace("-", "_")
    if words and words[0] == "--version":
        print(f"geoseg {__version__}")
    elif verb in verbs.VERBS:
        sections = schema.sections_of(verb)
        print(help.help_text(verb, schema.purpose_of(verb), sections))
    elif not words or words[0] in HELP or verb == "help":
        print(overview())
    elif verb == "completion":
        return _complete(words[1:])
    else:
        return _refuse(_unknown(words[0]))
    return 0


def answer_help(call: Sequence[str]) -> None:
    """End `python -m geoseg.<command> … --help` with its text; returns if this is another call."""
    words = list(call)
    name = words.index("-m") + 1 if "-m" in words else len(words)
    package, _, verb = "".join(words[name : name + 1]).partition(".")
    if package == "geoseg" and verb in verbs.VERBS:
        sys.exit(main(["help", verb]))


def overview() -> str:
    """All commands with one line each."""
    wide = help.width()
    column = max(map(len, verbs.VERBS)) + 4
    lines = ["geoseg <command> key=value …", ""]
    groups = {title: {v: verbs.summary(v) for v in part} for title, part in verbs.GROUPS.items()}
    for title, part in (*groups.items(), ("And", EXTRA)):
        lines.append(f"{title}:")
        for name, summary in part.items():
            wrapped = textwrap.wrap(summary, wide - column)
            lines.append(f"  {name:<{column - 2}}{wrapped[0]}")
            lines += [" " * column + line for line in wrapped[1:]]
    lines += ["", "Keys of a command: geoseg <command> --help      Version: geoseg --version"]
    return "\n".join(lines)


def _complete(words: Sequence[str]) -> int:
    shell = words[0] if words else ""
    if len(words) != 1 or shell not in completion.SHELLS:
        got = f"got {' '.join(words)}" if words else "none given"
        return _refuse(f"completion: give the shell, bash or zsh; {got}")
    print(completion.script(shell), end="")
    return 0


def _unknown(word: str) -> str:
    known = (*verbs.VERBS, *EXTRA)
    near = difflib.get_close_matches(word.replace("-", "_"), known, n=1, cutoff=0.5)
    what = "option" if word.startswith("-") else "command"
    hint = ""
    if "=" in word:
        hint = f"; the command comes first, as in geoseg train {word}"
    elif near:
        hint = f"; did you mean geoseg {near[0]}?"
    return f"{word}: no such {what}{hint} (all commands: geoseg)"


def _refuse(fault: str) -> int:
    print(f"geoseg: {readable(fault)}", file=sys.stderr)
    return 2
