"""Write what bash and zsh need to complete commands, keys and the choices of groups.

All words stand in the script, so that a press of Tab starts no Python.
"""

from __future__ import annotations

import shlex

from geoseg.commands import help, schema, verbs

SHELLS = ("bash", "zsh")

_COMMON = """\
# Completion of geoseg {version} for {shell}; write it again after an update.
_geoseg_words() {{
  case "$1" in
{words}
  esac
}}

_geoseg_values() {{
  case "$1 $2" in
{values}
  esac
}}
"""

_BASH = """\
_geoseg() {
  local line="${COMP_LINE:0:COMP_POINT}" verb word key value folder=""
  local -a given
  read -ra given <<< "$line"
  case "$line" in *[[:space:]]) given+=("") ;; esac
  COMPREPLY=()
  word="${given[${#given[@]}-1]}"
  if (( ${#given[@]} <= 2 )); then
    COMPREPLY=($(compgen -W "$(_geoseg_words verbs)" -- "$word"))
    return
  fi
  verb="${given[1]}"
  if [[ "$word" != *=* ]]; then
    compopt -o nospace 2>/dev/null
    COMPREPLY=($(compgen -W "$(_geoseg_words "$verb")" -- "$word"))
    return
  fi
  key="${word%%=*}"
  value="${word#*=}"
  # Bash takes = for the end of a word unless that was changed: then only what follows is replaced.
  [[ "$COMP_WORDBREAKS" == *=* ]] || folder="$key="
  local choices="$(_geoseg_values "$verb" "$key")"
  if [[ -n "$choices" ]]; then
    COMPREPLY=($(compgen -P "$folder" -W "$choices" -- "$value"))
  else
    compopt -o filenames -o nospace 2>/dev/null
    local IFS=$'\\n'
    COMPREPLY=($(compgen -P "$folder" -f -- "$value"))
  fi
}
complete -F _geoseg geoseg
"""

_ZSH = """\
_geoseg() {
  local verb key choices
  if (( CURRENT == 2 )); then
    compadd -- ${(z)"$(_geoseg_words verbs)"}
    return
  fi
  verb="${words[2]}"
  if [[ "$PREFIX" != *=* ]]; then
    compadd -S '' -- ${(z)"$(_geoseg_words "$verb")"}
    return
  fi
  key="${PREFIX%%=*}"
  compset -P '*='
  choices="$(_geoseg_values "$verb" "$key")"
  if [[ -n "$choices" ]]; then
    compadd -- ${(z)choices}
  else
    _files
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _geoseg geoseg
"""


def script(shell: str) -> str:
    """The completion for a shell, to be sourced: `source <(geoseg completion bash)`."""
    from geoseg import __version__

    words = {"verbs": " ".join((*verbs.VERBS, "completion", "help"))}
    words["completion"], words["help"] = " ".join(SHELLS), " ".join(verbs.VERBS)
    values: dict[str, str] = {}
    for verb in verbs.VERBS:
        sections = schema.sections_of(verb)
        settings = [setting for section in sections for setting in section.settings]
        groups = help.groups_of(verb, sections)
        keys = [f"{key}=" for key in (*groups, *(s.key for s in settings))]
        words[verb] = " ".join(dict.fromkeys([*keys, "--help"]))
        values |= {f"{verb} {group}": " ".join(names) for group, names in groups.items()}
        flags = [setting.key for setting in settings if setting.type.startswith("bool")]
        values |= {f"{verb} {key}": "true false" for key in flags}
    common = _COMMON.format(
        version=__version__, shell=shell, words=_cases(words), values=_cases(values)
    )
    return common + (_BASH if shell == "bash" else _ZSH)


def _cases(texts: dict[str, str]) -> str:
    return "\n".join(
        f"    {shlex.quote(name)}) echo {shlex.quote(text)} ;;" for name, text in texts.items()
    )
