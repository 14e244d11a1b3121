"""Load a callee with sipp and see what that costs it: CPU per call, time to the 200, memory per call.

The subject runs on core 1, sipp and the probe on core 0. CPU is what the kernel's scheduler counted
for every thread of the subject; times are from `sendto` to the kernel's receive stamp of the 200, for
40 calls a second that a probe places beside sipp's (sipp's own clock ticks in 4 ms).
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

__all__ = ["LOAD_CORE", "SUBJECT_CORE", "Load", "Subject", "hold", "load"]

HERE = Path(__file__).resolve().parent
SCENARIO = HERE / "load" / "uac.xml"
SUBJECT_CORE, LOAD_CORE = 1, 0
SO_TIMESTAMPNS = 35
#: fatal error, cannot bind (sipp's manual); 1 only says that calls failed
SIPP_FAILED = (253, 255)
SIPP_CANNOT_BIND = 254

Load = dict[str, float]


def free_port() -> int:
    """Return a port that nobody on this machine has, over UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                return udp.getsockname()[1]


SUBJECT_PORT = free_port()


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                children = Path(f"/proc/{one}/task/{thread}/children").read_text()
                found += map(int, children.split())
    return found


def cpu_seconds(pid: int) -> float:
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                total += int(Path(f"/proc/{one}/task/{thread}/schedstat").read_text().split()[0])
    return total / 1e9


def memory_kb(pid: int) -> int:
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError, IndexError):
            shares = Path(f"/proc/{one}/smaps_rollup").read_text().split("Pss:")
            total += int(shares[1].split()[0])
    return total


class Subject:
    """A callee on its core, until the end of the `with`."""

    def __init__(self, command: list[str], settle: float = 1.5) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sipp-load"))
        self._log = (self.folder / "subject.log").open("wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SUBJECT_CORE), *command],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            cwd=HERE.parent,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        time.sleep(settle)
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "subject.log").read_text()[-2000:])

    @property
    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)

    @property
    def memory(self) -> int:
        return memory_kb(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pids = family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(4)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in pids[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_sipp(
    folder: Path, rate: float, calls: int, transport: str, *, hold_ms: int = 0, timeout: int
) -> subprocess.Popen[bytes]:
    for old in folder.glob("*.csv"):
        old.unlink()
    command = ["taskset", "-c", str(LOAD_CORE), "sipp", "-sf", str(SCENARIO)]
    command += ["-i", "127.0.0.1", "-p", str(free_port()), f"127.0.0.1:{SUBJECT_PORT}"]
    command += ["-mp", str(free_port()), "-cp", str(free_port())]
    command += ["-r", str(rate), "-m", str(calls), "-l", "200000", "-d", str(hold_ms)]
    command += ["-t", transport, "-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1"]
    command += ["-timeout", str(timeout), "-buff_size", "4000000", "-max_socket", "100000"]
    command.append("-nd" if hold_ms else "-aa")
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, stdin=quiet, cwd=folder)


def outcome(folder: Path) -> tuple[int, int, int]:
    """Return calls that went well, calls that failed, retransmissions."""
    with (folder / "stat.csv").open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    names = ("SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)")
    return tuple(int(last[name]) for name in names)  # type: ignore[return-value]


class Probe(threading.Thread):
    """Places 40 calls a second beside sipp's and takes the time to their 200."""

    OFFER = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 40120 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\n"
    )

    def __init__(self, seconds: float, per_second: float = 40) -> None:
        super().__init__(daemon=True)
        self.seconds, self.gap = seconds, 1 / per_second
        self.times: list[float] = []
        self.lost = 0

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(1.0)
            end, number = time.time() + self.seconds, 0
            while (began := time.time()) < end:
                number += 1
                self._call(sock, f"{sock.getsockname()[1]}x{number}")
                time.sleep(max(0.0, self.gap - (time.time() - began)))

    def _call(self, sock: socket.socket, name: str) -> None:
        port = sock.getsockname()[1]
        to = f"<sip:service@127.0.0.1:{SUBJECT_PORT}>"
        began = time.time()
        self._send(sock, port, name, "INVITE", 1, to, self.OFFER)
        try:
            while True:
                data, ancillary, _, _ = sock.recvmsg(4096, 128)
                if b"CSeq: 1 INVITE" not in data or name.encode() not in data:
                    continue
                if data.startswith(b"SIP/2.0 2"):
                    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                    self.times.append((seconds + nanoseconds / 1e9 - began) * 1e3)
                    lines = data.decode().split("\r\n")
                    to = next(line[4:] for line in lines if line.startswith("To: "))
                    break
        except (TimeoutError, StopIteration):
            self.lost += 1
            return
        self._send(sock, port, name, "ACK", 1, to)
        self._send(sock, port, name, "BYE", 2, to)

    def _send(self, sock, port, name, method, cseq, to, body=""):
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} sip:service@127.0.0.1:{SUBJECT_PORT} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{name}{method};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1:{port}>;tag={name}\r\nTo: {to}\r\n"
            f"Contact: <sip:probe@127.0.0.1:{port}>\r\nCall-ID: {name}\r\nCSeq: {cseq} {method}\r\n"
            f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )
        sock.sendto(text.encode(), ("127.0.0.1", SUBJECT_PORT))

    def quantile(self, part: float) -> float | None:
        times = sorted(self.times)
        return round(times[int(len(times) * part)], 3) if len(times) > 20 else None


class PortTakenError(Exception):
    """Somebody took a port between our look and sipp's bind."""


def load(command: list[str], rate: float, seconds: float, transport: str) -> Load:
    """Run one load and return what it showed."""
    for _ in range(3):
        with contextlib.suppress(PortTakenError):
            return _load(command, rate, seconds, transport)
    raise RuntimeError("sipp cannot bind its ports")


def _load(command: list[str], rate: float, seconds: float, transport: str) -> Load:
    os.sched_setaffinity(0, {LOAD_CORE})
    with Subject(command) as subject:
        calls = int(rate * seconds)
        probe = Probe(seconds) if transport == "u1" else None
        before, began = subject.cpu, time.time()
        sipp = start_sipp(subject.folder, rate, calls, transport, timeout=int(seconds * 2 + 6))
        if probe is not None:
            probe.start()
        generator = 0.0
        while sipp.poll() is None:
            generator = cpu_seconds(sipp.pid) or generator
            time.sleep(0.05)
            if time.time() - began > seconds * 1.5 + 5:  # overloaded
                sipp.kill()
        elapsed = time.time() - began
        if probe is not None:
            probe.join(3)
        used = subject.cpu - before
        if sipp.returncode == SIPP_CANNOT_BIND:
            raise PortTakenError
        if sipp.returncode in SIPP_FAILED:
            raise RuntimeError(f"sipp could not run: exit status {sipp.returncode}")
        good, bad, repeats = outcome(subject.folder)
    result: Load = {
        "rate": rate,
        "seconds": round(elapsed, 2),
        "ok": good,
        "failed": bad + max(0, calls - good - bad),
        "retransmissions": repeats,
        "us_per_call": round(used / max(good + (len(probe.times) if probe else 0), 1) * 1e6, 1),
        "generator_us": round(generator / max(good, 1) * 1e6, 1),
        "late": round(elapsed / seconds, 3),
    }
    if probe is not None:
        result["probe_lost"] = probe.lost
        for part in (0.5, 0.95, 0.99):
            result[f"p{part * 100:.0f}_ms"] = probe.quantile(part)  # type: ignore[assignment]
    return result


def ended(sipp: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end; sipp's own timeout waits for calls that hang."""
    try:
        sipp.wait(seconds)
    except subprocess.TimeoutExpired:
        sipp.kill()
        sipp.wait()


def hold(command: list[str], calls: int, rate: float, transport: str) -> Load:
    """Open many calls and return what one costs in memory."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with Subject(command, settle=3) as subject:
        ended(start_sipp(subject.folder, 20, 40, transport, timeout=30), 40)  # imports, caches
        time.sleep(1)
        base = subject.memory
        seconds = calls / rate
        sipp = start_sipp(
            subject.folder,
            rate,
            calls,
            transport,
            hold_ms=int((seconds + 4) * 1000),
            timeout=int(seconds * 2 + 20),
        )
        time.sleep(seconds + 2)
        full = subject.memory
        ended(sipp, seconds * 2 + 30)
        good, bad, _ = outcome(subject.folder)
    kilobytes = round((full - base) / calls, 2)
    return {"calls": calls, "ok": good, "failed": bad, "kb_per_call": kilobytes, "base_kb": base}
