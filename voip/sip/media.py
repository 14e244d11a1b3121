"""The media of one call of the SIP object: its share of the network, and what describes it.

The socket comes first, since a description names its port; the plane takes the leg over once both
sides have agreed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.rtp.source import RemoteSource, SourceRules
from voip.sdp.negotiation import LocalMedia
from voip.sip.description import CallDescription
from voip.sip.invite import CallState
from voip.types import HostPort, canonical_ip

if TYPE_CHECKING:
    from voip.media.plane import InlineMedia
    from voip.rtp.call import RTPCall
    from voip.sdp.negotiation import Agreement
    from voip.sip.driver import SipDriver
    from voip.sip.invite import Call

__all__ = ["MediaSession"]


class MediaSession:
    """What a call has of the network, from the reservation to the release.

    Args:
        driver: has the sockets and the plane.
        local_host: our address as the peer reaches it.
        remote: the peer's RTP address, where its offer is known.
        signalling_ip: where its signalling comes from.

    Attributes:
        description: our side of the call's session descriptions.

    Raises:
        PortsExhaustedError: no port is left.
        TransportError: no socket can be had.
    """

    __slots__ = ("_driver", "_media", "_socket", "description")

    def __init__(
        self,
        driver: SipDriver,
        local_host: str,
        *,
        remote: HostPort | None = None,
        signalling_ip: str | None = None,
    ) -> None:
        self._driver = driver
        self._media: InlineMedia | None = None
        self._socket = driver.rtp.reserve(local_host, remote=remote, signalling_ip=signalling_ip)
        local, rtcp = self._socket.local, self._socket.rtcp_local
        number = int.from_bytes(driver.entropy(7))
        local_media = LocalMedia(
            driver.session.media_address or local.host,
            local.port,
            rtcp.port,
            session_id=number >> 24,
            version=number & 0xFFFFFF,
            rtcp_mux=True,
        )
        self.description = CallDescription(local_media)

    async def find_public_address(self) -> None:
        """Describe the socket as others see it (RFC 8489)."""
        public, local = await self._socket.public_address(), self.description.local
        if public != self._socket.local:
            local.address, local.port = public
            local.rtcp_port = public.port + 1

    def begin(self, call: Call, leg: RTPCall, agreement: Agreement) -> None:
        """Let media flow between a leg and the peer."""
        source, driver = RemoteSource(self._rules(call, agreement)), self._driver
        self._media = driver.plane.adopt(
            leg, self._socket.link, source=source, agreement=agreement, now=driver.now
        )
        self._socket.bind(self._media, remote=agreement.remote, remote_rtcp=agreement.remote_rtcp)

    def _rules(self, call: Call, agreement: Agreement) -> SourceRules:
        assert call.flow is not None
        signalling = call.flow.remote.host
        return SourceRules(
            mode="learn",
            sdp=agreement.remote,
            signalling_ip=signalling,
            payload_types=agreement.payload_types,
            sdp_rtcp=agreement.remote_rtcp,
            trusted=canonical_ip(signalling) in self._driver.settings.peers,
            acknowledged=not call.incoming or call.state is CallState.CONFIRMED,
        )

    def acknowledged(self) -> None:
        """Note that the peer gets our signalling: its ACK came."""
        if self._media is not None:
            self._media.source.rules.acknowledged = True

    def renegotiated(self, call: Call, agreement: Agreement) -> None:
        """Go on with what a re-INVITE agreed on."""
        self.description.agreement = agreement
        if self._media is not None:
            self._media.update(agreement, self._driver.now, self._rules(call, agreement))
            self._socket.move(agreement.remote, agreement.remote_rtcp)

    def far_end_left(self) -> None:
        """Note that the peer ended the call: its port is closed by now."""
        if self._media is not None:
            self._media.far_end_left()

    def release(self) -> None:
        """Give the socket back."""
        if self._media is not None:
            self._driver.plane.release(self._media)
            self._media = None
        self._socket.close()
