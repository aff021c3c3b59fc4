"""Whether the OS keychain can be asked. No entry is made, and none of ours is read here."""

from typing import Final

from yarddesk.content.credentials import CredentialUnavailable
from yarddesk.credentials.backends import NoKeychain
from yarddesk.service.accounts import Accounts
from yarddesk.service.doctor.finding import Finding, State, of_error, ok

_CHECK: Final = "keychain"
_WITHOUT: Final = (
    "Until then `yarddesk login` keeps nothing; credentials come from the settings and from Docker's config."
)


async def check_keychain(accounts: Accounts) -> tuple[Finding, CredentialUnavailable | None]:
    """And why it can't be asked, so that nobody asks again."""
    try:
        name = await accounts.check_keychain()
    except CredentialUnavailable as error:
        state = State.WARNING if isinstance(error, NoKeychain) else State.BROKEN
        error.hint = f"{error.hint} {_WITHOUT}".lstrip()
        return of_error(state, _CHECK, "", error), error
    return ok(_CHECK, name, "It can be read, and is not locked."), None
