#!/usr/bin/python3
"""Writes man pages and bash completions of hyperfarm, from what its commands print with --help.

    dist-commands.py HYPERFARM FOLDER      FOLDER/man1/hyperfarm*.1, FOLDER/hyperfarm.bash

Needs help2man.
"""

import re
import subprocess
import sys
from pathlib import Path


def text(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commands(program, path=()):
    """Each command as (words, help text), the program itself first."""
    help_text = text(program, *path, "--help")
    yield path, help_text
    section = re.search(r"^Commands:\n((?: .*\n)+)", help_text, re.MULTILINE)
    for name in re.findall(r"^  ([a-z][a-z-]*)\b", section.group(1) if section else "", re.MULTILINE):
        if name != "help":
            yield from commands(program, (*path, name))


def man_page(program, version, path, help_text):
    return text(
        "help2man", "--no-info", "--section=1", f"--version-string={version}", f"--name={help_text.splitlines()[0]}",
        "--source=hyperfarm", "--manual=hyperfarm", " ".join((program, *path)),
    )


def words(path, help_text, everything):
    options = re.findall(r"^ +(?:-\w, )?(--[a-z][a-z-]*)", help_text, re.MULTILINE)
    below = [other[-1] for other, _ in everything if other[:-1] == path and other]
    return " ".join([*below, *sorted(set(options))])


def completions(everything):
    cases = "\n".join(f'        "{" ".join(path)}") words="{words(path, help_text, everything)}" ;;' for path, help_text in everything)
    names = "|".join(sorted({" ".join(path) for path, _ in everything if path}))
    return f"""# bash completion of hyperfarm
_hyperfarm() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command='' longer word words=''
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        longer="${{command:+$command }}$word"
        [[ "|{names}|" != *"|$longer|"* ]] || command=$longer
    done
    case "$command" in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    [[ $current == -* ]] || mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$current")
}}
complete -o filenames -F _hyperfarm hyperfarm
"""


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    version = text(program, "--version").split()[-1]
    everything = list(commands(program))
    (folder / "man1").mkdir(parents=True, exist_ok=True)
    for path, help_text in everything:
        (folder / "man1" / f"{'-'.join(('hyperfarm', *path))}.1").write_text(man_page(program, version, path, help_text))
    (folder / "hyperfarm.bash").write_text(completions(everything))


if __name__ == "__main__":
    main()
