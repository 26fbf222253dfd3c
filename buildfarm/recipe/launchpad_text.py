"""Launchpad's recipe text (git-build-recipe and bzr-builder, formats 0.1 to 0.4): parse and render, purely.

The grammar is that of ``RecipeParser`` in git-build-recipe 0.3 and bzr-builder 0.7::

    # git-build-recipe format 0.4 deb-version {debupstream}-0~{revno}
    URL [REV]
    merge NAME URL [REV]
    nest NAME URL DIR [REV]                 children follow, indented by two spaces
    nest-part NAME URL SUBDIR [DIR [REV]]   from format 0.3

Blank lines and lines that begin with ``#`` say nothing. Where those programs are lenient in a way that can only
hide a mistake (a comment behind an instruction is taken for a revision) this parser says so instead; ``run`` is
refused, as Launchpad refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from buildfarm.job import VCS
from buildfarm.recipe.problem import RuleError, suggest
from buildfarm.recipe.rules import check_part_name, check_path, check_subdirectory, check_text
from buildfarm.recipe.version_template import FORMATS, Format, check_version_template

Builder = Literal["git-build-recipe", "bzr-builder"]
InstructionKind = Literal["nest", "nest-part", "merge"]

USAGE: dict[InstructionKind, str] = {
    "merge": "merge NAME URL [REV]",
    "nest": "nest NAME URL DIR [REV]",
    "nest-part": "nest-part NAME URL SUBDIR [DIR [REV]]",
}
HEADER_EXAMPLE = "# git-build-recipe format 0.4 deb-version {debupstream}-0~{revno}"
NESTING_LIMIT = 20


class LaunchpadTextError(ValueError):
    """The text is no recipe; ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, brief: str, hint: str) -> None:
        super().__init__(f"{line}:{column}: {brief}")
        self.line = line
        self.column = column
        self.brief = brief
        self.hint = hint


@dataclass(frozen=True)
class Spot:
    """Where a word of the text stands; lines and columns count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Instruction:
    """One line below the base branch, and the lines nested in it. ``into`` is DIR, "" where it was left out.

    ``spots`` places what was written, by the names of the fields.
    """

    kind: InstructionKind
    name: str
    url: str
    into: str = ""
    subdir: str = ""
    revision: str = ""
    children: tuple[Instruction, ...] = ()
    spots: Mapping[str, Spot] = field(default_factory=dict, compare=False, repr=False)

    @property
    def target(self) -> str:
        """The directory it goes to: nest-part's default is the last component of SUBDIR; "" for merge."""
        return self.into or PurePosixPath(self.subdir).name


@dataclass(frozen=True)
class LaunchpadRecipe:
    """A whole recipe text. ``deb_version`` and ``revision`` are "" where they were left out."""

    builder: Builder
    format: Format
    deb_version: str
    url: str
    revision: str = ""
    instructions: tuple[Instruction, ...] = ()
    version_spot: Spot = field(default=Spot(), compare=False, repr=False)
    url_spot: Spot = field(default=Spot(), compare=False, repr=False)
    revision_spot: Spot = field(default=Spot(), compare=False, repr=False)

    @property
    def vcs(self) -> VCS:
        """The version control system all its branches are in."""
        return "git" if self.builder == "git-build-recipe" else "bzr"

    def walk(self) -> Iterator[tuple[str, Instruction]]:
        """Every instruction in the order it is carried out, with the directory it is nested in ("" at the top)."""
        return _walk("", self.instructions)


def _walk(directory: str, instructions: Sequence[Instruction]) -> Iterator[tuple[str, Instruction]]:
    for instruction in instructions:
        yield directory, instruction
        yield from _walk(join(directory, instruction.target), instruction.children)


def join(directory: str, name: str) -> str:
    """``name`` below ``directory``; either may be ""."""
    return "/".join(part for part in (directory, name) if part)


def render_launchpad_text(recipe: LaunchpadRecipe) -> str:
    """The text that ``parse_launchpad_text`` reads back to the same recipe."""
    head = f"# {recipe.builder} format {recipe.format}"
    lines = [f"{head} deb-version {recipe.deb_version}" if recipe.deb_version else head]
    lines.append(" ".join(word for word in (recipe.url, recipe.revision) if word))

    def add(instructions: Sequence[Instruction], indent: str) -> None:
        for one in instructions:
            words = (one.kind, one.name, one.url, one.subdir, one.into, one.revision)
            lines.append(indent + " ".join(word for word in words if word))
            add(one.children, indent + "  ")

    add(recipe.instructions, "")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Word:
    text: str
    line: int
    column: int

    @property
    def spot(self) -> Spot:
        return Spot(self.line, self.column)

    def error(self, brief: str, hint: str, offset: int = 0) -> LaunchpadTextError:
        return LaunchpadTextError(self.line, self.column + offset, brief, hint)


@dataclass(frozen=True)
class _Line:
    number: int
    indent: str
    words: tuple[_Word, ...]
    width: int

    def end_error(self, brief: str, hint: str) -> LaunchpadTextError:
        return LaunchpadTextError(self.number, self.width + 1, brief, hint)


def parse_launchpad_text(text: str) -> LaunchpadRecipe:
    """The recipe that ``text`` describes; raises LaunchpadTextError, and nothing else, for any other text."""
    raw_lines = text.split("\n")
    recipe = _parse_header(_split(raw_lines[0], 1))
    lines = [
        line
        for number, raw in enumerate(raw_lines[1:], 2)
        if (line := _split(raw, number)).words and not line.words[0].text.startswith("#")
    ]
    if not lines:
        raise LaunchpadTextError(
            len(raw_lines), 1, "the branch to start from is missing", "The second line is: URL [REV]"
        )
    recipe = _parse_base(recipe, lines[0])
    recipe = replace(recipe, instructions=_parse_block(recipe, lines[1:]))
    _check_names(recipe)
    return recipe


def _split(raw: str, number: int) -> _Line:
    for offset, character in enumerate(raw):
        if character not in " \t" and (character.isspace() or not _is_printable(character)):
            raise LaunchpadTextError(
                number, offset + 1, f"the character {character!r} is not allowed here", "Use plain spaces."
            )
    words = tuple(_Word(match[0], number, match.start() + 1) for match in re.finditer(r"[^ \t]+", raw))
    indent = raw[: len(raw) - len(raw.lstrip(" \t"))]
    return _Line(number, indent, words, len(raw.rstrip(" \t")))


def _is_printable(character: str) -> bool:
    try:
        return bool(check_text(character))
    except RuleError:
        return False


def _parse_header(line: _Line) -> LaunchpadRecipe:
    words = list(line.words)
    wanted = f"The first line is like: {HEADER_EXAMPLE}"
    if line.indent or not words or not words[0].text.startswith("#"):
        raise LaunchpadTextError(line.number, 1, "the first line must begin with #", wanted)
    if len(words[0].text) > 1:
        words[0] = _Word(words[0].text[1:], 1, words[0].column + 1)
    else:
        del words[0]

    def take(what: str) -> _Word:
        if not words:
            raise line.end_error(f"the line ends where {what} should stand", wanted)
        return words.pop(0)

    builder = take("git-build-recipe")
    if builder.text not in ("git-build-recipe", "bzr-builder"):
        raise builder.error(f"{builder.text!r} is neither git-build-recipe nor bzr-builder", wanted)
    if (word := take("'format'")).text != "format":
        raise word.error(f"'format' should stand here, not {word.text!r}", wanted)
    if (version := take("the format's version")).text not in FORMATS:
        raise version.error(f"unknown format {version.text}", f"Known formats: {', '.join(FORMATS)}.")
    template = None
    if words:
        if (word := take("'deb-version'")).text != "deb-version":
            raise word.error(f"'deb-version' should stand here, not {word.text!r}", wanted)
        template = take("the version template")
    if words:
        raise words[0].error(f"{words[0].text!r} is too much", "A version template has no spaces.")
    return LaunchpadRecipe(
        builder.text,  # type: ignore[arg-type]
        version.text,
        template.text if template is not None else "",
        "",
        version_spot=template.spot if template is not None else Spot(),
    )


def _parse_base(recipe: LaunchpadRecipe, line: _Line) -> LaunchpadRecipe:
    if line.indent:
        raise LaunchpadTextError(
            line.number, 1, "the branch to start from must not be indented", "Remove the spaces before it."
        )
    url, *rest = line.words
    if url.text in (*USAGE, "run") and len(rest) > 1:
        raise url.error("the branch to start from is missing", f"A line 'URL [REV]' comes before {url.text!r}.")
    revision = _take_optional(rest)
    _expect_end(rest, "URL [REV]")
    return replace(
        recipe,
        url=url.text,
        url_spot=url.spot,
        revision=revision.text if revision is not None else "",
        revision_spot=revision.spot if revision is not None else Spot(),
    )


def _parse_block(recipe: LaunchpadRecipe, lines: Sequence[_Line]) -> tuple[Instruction, ...]:
    """The instructions, nested by their indentation."""
    flat: list[tuple[int, Instruction]] = []
    for line in lines:
        level = _level(line)
        deepest = 0
        if flat:
            deepest = flat[-1][0] + (1 if flat[-1][1].kind == "nest" else 0)
        if level > deepest:
            raise LaunchpadTextError(
                line.number,
                1,
                "this line is indented too far",
                "Only lines below a 'nest' are indented, by two spaces more than it.",
            )
        flat.append((level, _parse_instruction(recipe, line)))
    return _nest(flat, 0)


def _nest(flat: Sequence[tuple[int, Instruction]], level: int) -> tuple[Instruction, ...]:
    if not flat:
        return ()
    starts = [number for number, (depth, _) in enumerate(flat) if depth == level]
    ends = [*starts[1:], len(flat)]
    return tuple(
        replace(flat[start][1], children=_nest(flat[start + 1 : end], level + 1))
        for start, end in zip(starts, ends, strict=True)
    )


def _level(line: _Line) -> int:
    if "\t" in line.indent:
        column = line.indent.index("\t") + 1
        raise LaunchpadTextError(line.number, column, "a tab indents this line", "Indent by two spaces.")
    if len(line.indent) % 2:
        raise LaunchpadTextError(
            line.number, 1, f"{len(line.indent)} spaces indent this line", "Indent by two spaces a level."
        )
    level = len(line.indent) // 2
    if level > NESTING_LIMIT:
        raise LaunchpadTextError(line.number, 1, f"nested deeper than {NESTING_LIMIT} levels", "Nest less deeply.")
    return level


def _parse_instruction(recipe: LaunchpadRecipe, line: _Line) -> Instruction:
    kind, *rest = line.words
    _refuse_foreign(recipe, kind)
    usage = USAGE[kind.text]  # type: ignore[index]

    def take(what: str) -> _Word:
        if not rest:
            raise line.end_error(f"the line ends where {what} should stand", f"Usage: {usage}")
        return _refuse_comment(rest.pop(0))

    name, url = take("a name"), take("the URL")
    subdir = take("the directory to take") if kind.text == "nest-part" else None
    into = take("the directory to nest it in") if kind.text == "nest" else None
    if kind.text == "nest-part":
        into = _take_optional(rest)
    revision = _take_optional(rest)
    _expect_end(rest, usage)
    words = {"kind": kind, "name": name, "url": url, "subdir": subdir, "into": into, "revision": revision}
    return Instruction(
        kind.text,  # type: ignore[arg-type]
        _checked(name, check_part_name),
        url.text,
        into=_checked(into, check_subdirectory),
        # A leading slash means the branch's own root, to Launchpad.
        subdir=_checked(subdir, lambda path: check_path(path.lstrip("/") or ".")),
        revision=revision.text if revision is not None else "",
        spots={field: word.spot for field, word in words.items() if word is not None},
    )


def _refuse_foreign(recipe: LaunchpadRecipe, kind: _Word) -> None:
    if kind.text == "run":
        raise kind.error(
            "'run' is refused: it would run a command of the recipe where sources are assembled",
            "Launchpad forbids it too. Do it in debian/rules, or commit what the command makes.",
        )
    if kind.text not in USAGE:
        raise kind.error(f"unknown instruction {kind.text!r}", suggest(kind.text, USAGE, "instructions"))
    if kind.text == "nest-part" and recipe.format < "0.3":
        raise kind.error(
            f"'nest-part' needs format 0.3, this is {recipe.format}", "Write 'format 0.3' in the first line."
        )


def _refuse_comment(word: _Word) -> _Word:
    if word.text.startswith("#"):
        raise word.error("a comment cannot follow an instruction", "Give the comment a line of its own.")
    return word


def _take_optional(words: list[_Word]) -> _Word | None:
    return _refuse_comment(words.pop(0)) if words else None


def _expect_end(words: Sequence[_Word], usage: str) -> None:
    if words:
        raise _refuse_comment(words[0]).error(f"{words[0].text!r} is too much", f"Usage: {usage}")


def _checked(word: _Word | None, rule: Callable[[str], str]) -> str:
    if word is None:
        return ""
    try:
        return rule(word.text)
    except RuleError as error:
        raise word.error(error.brief, error.hint, error.offset) from error


def _check_names(recipe: LaunchpadRecipe) -> None:
    """Names are unique, so are the directories that are filled, and the version names only what is here."""
    names: dict[str, int] = {}
    targets: dict[str, int] = {}
    for directory, one in recipe.walk():
        name_spot = one.spots["name"]
        target_spot = one.spots.get("into", one.spots.get("subdir", name_spot))
        if one.name in names:
            raise LaunchpadTextError(
                name_spot.line,
                name_spot.column,
                f"the name {one.name!r} is used twice",
                f"Line {names[one.name]} has it already; every branch needs a name of its own.",
            )
        names[one.name] = name_spot.line
        if one.kind == "merge":
            continue
        if not one.target:
            raise LaunchpadTextError(
                target_spot.line, target_spot.column, "DIR is missing", f"Usage: {USAGE[one.kind]}"
            )
        target = join(directory, one.target)
        if target in targets:
            raise LaunchpadTextError(
                target_spot.line,
                target_spot.column,
                f"the directory {target!r} is used twice",
                f"Line {targets[target]} fills it already.",
            )
        targets[target] = name_spot.line
    try:
        check_version_template(recipe.deb_version, names, recipe.format)
    except RuleError as error:
        spot = recipe.version_spot
        raise LaunchpadTextError(spot.line, spot.column + error.offset, error.brief, error.hint) from error
