"""baresip without a sound card: it plays a wave file, records what it hears, and is driven by us.

The profile has a file as microphone, a null player, and the module `sndfile`, which dumps what was
sent and what was decoded. Commands and events go over `ctrl_tcp`: JSON in netstrings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from peers.certificates import Certificate
from peers.process import LOOPBACK, Peer, PeerError, free_port, program, until

__all__ = ["CODECS", "Baresip", "BaresipCodec", "read_recording", "require", "write_wave"]

_BLOCK_SECS = 0.02
_WAVE_HEADER_BYTES = 44
# A sample beyond this, -40 dB of full scale, is sound: the speech, not what a codec adds to silence.
_SOUND = 328
_MODULES = Path("/usr/lib/baresip/modules")


def require() -> str:
    """Return the path of baresip, or skip."""
    return program("baresip", "baresip-core")


@dataclass(frozen=True)
class BaresipCodec:
    """How baresip names a codec, and the form that its microphone file must have.

    Attributes:
        name: what its account says.
        sample_rate_hz: of the audio, which for G.722 is not the RTP clock.
        channels: of the file.
    """

    name: str
    sample_rate_hz: int
    channels: int = 1


CODECS = {
    "pcmu": BaresipCodec("pcmu/8000/1", 8000),
    "pcma": BaresipCodec("pcma/8000/1", 8000),
    "g722": BaresipCodec("g722/16000/1", 16000),
    "opus": BaresipCodec("opus/48000/2", 48000, 2),
    "l16": BaresipCodec("l16/16000/1", 16000),
}


def write_wave(path: Path, audio: NDArray[np.int16], sample_rate_hz: int, channels: int) -> Path:
    """Write int16[samples], mono, to every channel of a wave file."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(channels)
        target.setsampwidth(2)
        target.setframerate(sample_rate_hz)
        target.writeframes(np.repeat(audio, channels).astype("<i2").tobytes())
    return path


def read_recording(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return float32[samples], the mean of the channels, -1..1, and the rate in Hz."""
    with wave.open(str(path)) as source:
        assert source.getsampwidth() == 2
        data = np.frombuffer(source.readframes(source.getnframes()), "<i2")
        audio = data.reshape(-1, source.getnchannels()).mean(axis=1) / 32768
        return audio.astype(np.float32), source.getframerate()


class Baresip:
    """One baresip with one account that needs no registrar.

    Args:
        folder: where its profile, its log and its recordings are.
        microphone: the wave file that it plays, in the form that the codec wants. Where it ends,
            baresip hangs up: pad it with silence.
        codec: the only codec that it has.
        transport: how it calls: udp, tcp or tls.
        answers: whether it answers every call at once.
        certificate: its certificate for TLS.
    """

    def __init__(
        self,
        folder: Path,
        microphone: Path,
        *,
        codec: BaresipCodec,
        transport: str = "udp",
        answers: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        self.folder = folder
        self.codec = codec
        self.transport = transport
        self.port = free_port(beside=1)
        self.events: list[dict[str, Any]] = []
        self.peer: Peer | None = None
        self._control_port = free_port()
        self._recordings = folder / "recordings"
        self._answers: dict[str, dict[str, Any]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0
        self._blocks: list[bool] = []
        self._write_profile(microphone, certificate)
        account = f"<sip:phone@{LOOPBACK};transport={transport}>;regint=0"
        account += f";audio_codecs={codec.name}" + ";answermode=auto" * answers
        (folder / "accounts").write_text(account + "\n")

    @property
    def uri(self) -> str:
        """What to dial to reach it over its transport; TLS is one port higher."""
        port = self.port + (self.transport == "tls")
        return f"sip:phone@{LOOPBACK}:{port};transport={self.transport}"

    @property
    def heard(self) -> Path:
        """The file with what it has decoded, once there is one.

        Raises:
            PeerError: there is none.
        """
        found = sorted(self._recordings.glob("*-dec.wav"))
        if not found:
            assert self.peer is not None
            raise PeerError(f"baresip recorded nothing:\n{self.peer.output[-3000:]}")
        return found[-1]

    async def __aenter__(self) -> Self:
        # Without standard input: the module `stdio`, which would want one, is not loaded.
        self.peer = Peer(
            [require(), "-f", self.folder, "-s", "-v"],
            self.folder,
            name="baresip",
            environment={"HOME": str(self.folder)},
        )
        try:
            await self._connect()
        except BaseException:
            await self.peer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await self._reader
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self.peer is not None:
            await self.peer.stop()

    async def command(self, name: str, parameters: str = "") -> str:
        """Give a command (`dial`, `hangup`, `hold`, `resume` …) and return what it says.

        Raises:
            PeerError: it refuses, or does not answer.
        """
        assert self._writer is not None
        self._number += 1
        token = f"{name}-{self._number}"
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        answer: dict[str, Any] = await self._until(
            lambda: self._answers.get(token), seconds=10, what=f"baresip answers to {name}"
        )
        if not answer.get("ok"):
            raise PeerError(f"baresip refuses {name} {parameters}: {answer}")
        return str(answer.get("data", ""))

    async def event(self, kind: str, *, seconds: float = 10.0, count: int = 1) -> dict[str, Any]:
        """Wait until the `count`-th event of a kind was there, and return it.

        Raises:
            PeerError: it was not.
        """

        def found() -> dict[str, Any] | None:
            events = [event for event in self.events if event.get("type") == kind]
            return events[count - 1] if len(events) >= count else None

        event: dict[str, Any] = await self._until(
            found, seconds=seconds, what=f"baresip says {kind} ({count})"
        )
        return event

    async def last_sequence(self) -> int:
        """Return the sequence number of the last RTP packet that it got.

        After a hold the module `sndfile` records no more; the packets themselves still tell.
        """
        found = re.search(r"seq_put=(\d+)", await self.command("audio_debug"))
        if found is None:
            raise PeerError("baresip tells nothing of its jitter buffer")
        return int(found[1])

    async def hears(
        self, condition: Callable[[list[bool]], bool], *, seconds: float, what: str
    ) -> int:
        """Wait until what it has recorded fulfils a condition; return how many blocks there are.

        Args:
            condition: is given for each 20 ms block whether there was sound in it.
            seconds: the deadline.
            what: what is waited for, in words.

        Raises:
            PeerError: it did not come so far.
        """

        def fulfilled() -> bool:
            self._listen()
            return condition(self._blocks)

        await self._until(fulfilled, seconds=seconds, what=f"baresip hears {what}")
        return len(self._blocks)

    def _listen(self) -> None:
        """Take in what the recording has grown by; sndfile writes it as it comes."""
        for path in sorted(self._recordings.glob("*-dec.wav"))[-1:]:
            size = round(_BLOCK_SECS * self.codec.sample_rate_hz) * self.codec.channels
            with path.open("rb") as recording:
                recording.seek(_WAVE_HEADER_BYTES + 2 * size * len(self._blocks))
                new = np.frombuffer(recording.read(1 << 20), np.uint8)
            whole = len(new) // (2 * size) * 2 * size
            blocks = new[:whole].view("<i2").reshape(-1, size)
            self._blocks += [bool(np.max(np.abs(b.astype(np.int32))) > _SOUND) for b in blocks]

    async def _until(self, condition: Any, *, seconds: float, what: str) -> Any:
        assert self.peer is not None
        return await until(condition, seconds=seconds, what=what, log=self.peer.log)

    async def _connect(self) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + 15
        assert self.peer is not None
        while True:
            try:
                reader, self._writer = await asyncio.open_connection(LOOPBACK, self._control_port)
                break
            except OSError:
                if clock() > deadline or not self.peer.running:
                    raise PeerError(f"baresip does not start:\n{self.peer.output}") from None
                await asyncio.sleep(0.02)
        self._reader = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            length = await reader.readuntil(b":")
            text = await reader.readexactly(int(length[:-1]) + 1)
            message = json.loads(text[:-1])
            if message.get("response"):
                self._answers[message.get("token", "")] = message
            else:
                self.events.append(message)

    def _write_profile(self, microphone: Path, certificate: Certificate | None) -> None:
        self._recordings.mkdir(parents=True)
        rtp = free_port(beside=19)
        modules = "".join(
            f"module{kind} {name}.so\n"
            for kind, names in (
                ("", ("opus", "g722", "g711", "l16", "aufile", "aubridge", "sndfile")),
                ("_tmp", ("uuid", "account")),
                ("_app", ("ctrl_tcp", "menu")),
            )
            for name in names
        )
        lines = [
            "poll_method epoll",
            f"sip_listen {LOOPBACK}:{self.port}",
            # The interface is found by its address; by its name, loopback is refused.
            f"net_interface {LOOPBACK}",
            "call_local_timeout 30",
            f"audio_source aufile,{microphone}",
            "audio_player aubridge,sink",
            "audio_alert aubridge,alert",
            "ausrc_format s16",
            "auplay_format s16",
            "auenc_format s16",
            "audec_format s16",
            "audio_level no",
            f"rtp_ports {rtp}-{rtp + 19}",
            "rtcp_mux no",
            "jitter_buffer_delay 1-10",
            f"module_path {_MODULES}",
            f"ctrl_tcp_listen {LOOPBACK}:{self._control_port}",
            f"snd_path {self._recordings}",
            "ringback_disabled yes",
            "opus_bitrate 64000",
            "statmode_default off",
        ]
        if certificate is not None:
            both = self.folder / "certificate.pem"
            both.write_bytes(certificate.key.read_bytes() + certificate.certificate.read_bytes())
            lines.append(f"sip_certificate {both}")
        (self.folder / "config").write_text("\n".join(lines) + "\n" + modules)
        (self.folder / "contacts").touch()
