"""A greeting in several languages, signed with the version of the program."""

from pathlib import Path

GREETINGS = {
    "de": "Hallo, {name}!",
    "en": "Hello, {name}!",
    "fr": "Bonjour, {name} !",
    "nl": "Dag, {name}!",
}


def greeting(name: str, language: str = "en") -> str:
    """Greet ``name``; raises KeyError for a language that GREETINGS does not have."""
    return GREETINGS[language].format(name=name)


def version() -> str:
    """The version: the source's own, or the package's where this is installed from one."""
    return Path(__file__).with_name("version").read_text(encoding="utf-8").strip()
