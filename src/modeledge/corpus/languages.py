"""Programming languages by the names of files."""

from __future__ import annotations

from pathlib import Path

LANGUAGES = {
    "ada": "adb ads", "assembly": "s asm", "awk": "awk", "c": "c h", "clojure": "clj", "cmake": "cmake", "cpp":
    "cc cpp cxx hh hpp hxx", "csharp": "cs", "css": "css scss", "cuda": "cu cuh", "dart": "dart", "elixir": "ex exs",
    "erlang": "erl", "fortran": "f f90 f95 f03", "fsharp": "fs fsx", "go": "go", "groovy": "groovy gradle", "haskell":
    "hs", "java": "java", "javascript": "js jsx mjs cjs", "julia": "jl", "kotlin": "kt kts", "lisp": "lisp el", "lua":
    "lua", "nim": "nim", "ocaml": "ml mli", "pascal": "pas", "perl": "pl pm", "php": "php", "powershell": "ps1",
    "prolog": "pro", "protobuf": "proto", "python": "py pyi pyx", "r": "r", "ruby": "rb", "rust": "rs", "scala":
    "scala", "scheme": "scm", "shell": "sh bash zsh", "solidity": "sol", "sql": "sql", "swift": "swift", "tcl": "tcl",
    "typescript": "ts tsx", "vba": "bas", "verilog": "v sv", "vhdl": "vhd vhdl", "zig": "zig",
}  # fmt: skip
#: Which name endings are which language, and the files that are known by their whole name.
ENDINGS = {f".{ending}": language for language, endings in LANGUAGES.items() for ending in endings.split()}
NAMES = {"makefile": "make", "dockerfile": "docker", "cmakelists.txt": "cmake", "rakefile": "ruby", "gemfile": "ruby"}


def language_of(path: Path) -> str | None:
    """The programming language of a file by its name; None for one that no list has."""
    return NAMES.get(path.name.lower()) or ENDINGS.get(path.suffix.lower())
