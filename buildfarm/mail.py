"""The server that takes the farm's mail, out of its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildfarm.errors import UsageError

if TYPE_CHECKING:
    from buildfarm.settings import Settings
    from ppa_tools.archives.mail import SMTP


def smtp_of(settings: Settings) -> SMTP | None:
    """The SMTP server of ``[mail]``, None for none; raises UsageError when its password cannot be read."""
    from ppa_tools.archives.mail import SMTP

    mail = settings.mail
    if not mail.host:
        return None
    password = ""
    if mail.password_file:
        try:
            password = (settings.root / mail.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read it: {getattr(error, 'strerror', 'it is no text')}",
                where=f"mail.password_file = {mail.password_file!r}",
            ) from error
    return SMTP(mail.host, mail.port, mail.sender, mail.starttls, mail.user, password)
