"""The registration of a SIP object's account, and who waits for the registrar's word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voip.sip.registration import Registration, RegistrationSettings

if TYPE_CHECKING:
    from voip.errors import RegistrationError
    from voip.sip.account import Account
    from voip.sip.driver import SipDriver

__all__ = ["AccountRegistration"]


class AccountRegistration:
    """Registers one account; refreshes follow by themselves.

    Args:
        driver: runs the endpoint.
        account: the account.
        expires: seconds that are asked for.
    """

    def __init__(self, driver: SipDriver, account: Account, expires: int) -> None:
        self._driver = driver
        settings = RegistrationSettings(expires=expires)
        self._registration = Registration(account, settings=settings, entropy=driver.entropy)
        self._waiting: asyncio.Future[None] | None = None

    async def register(self) -> None:
        """Register, again when the last time failed, and wait for the registrar's word.

        Raises:
            RegistrationError: the registrar's status and its own words.
        """
        waiting, driver, registration = self._waiting, self._driver, self._registration
        if waiting is None or (waiting.done() and waiting.exception() is not None):
            waiting = self._waiting = driver.loop.create_future()
            driver.command(lambda machine, now: machine.register(registration, now))
        await asyncio.shield(waiting)

    def over(self, error: RegistrationError | None) -> None:
        """Tell whoever waits that the registrar has spoken."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            waiting.exception()  # whoever waits gets it; nobody else is to be warned

    def leave(self) -> None:
        """Take the registration away."""
        registration = self._registration
        self._driver.command(lambda machine, now: machine.unregister(registration, now))
