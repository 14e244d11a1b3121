"""The commands and their options; what they do is in `voip.cli.echo` and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voip.cli.output import open_output
from voip.cli.running import run

__all__ = ["app"]

app = typer.Typer(
    name="voip",
    help="Answer and make phone calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Verbose = Annotated[
    int,
    typer.Option("-v", count=True, help="Show SIP: -v first lines, -vv headers, -vvv bodies."),
]
Codec = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Use this codec only: opus, g722, pcma, pcmu, l16."),
]
Proxy = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Send every request here first.")
]
TlsCa = Annotated[
    Path | None, typer.Option(help="Who may vouch for a SIP domain (PEM); default: the system's.")
]
SkipChecks = Annotated[
    bool,
    typer.Option(
        "--dangerously-skip-certificate-checks",
        help="Take any certificate. Whoever is in between can then listen and speak.",
    ),
]


@app.callback()
def root() -> None:
    """Answer and make phone calls."""


@app.command()
def echo(
    aor: Annotated[
        str | None,
        typer.Argument(metavar="[AOR]", help="Register as sip:USER@DOMAIN; none: just listen."),
    ] = None,
    host: Annotated[str, typer.Option(help="IP address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for UDP and TCP; TLS has the next one.")
    ] = 5060,
    proxy: Proxy = None,
    codec: Codec = None,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Call ourselves, report, and end.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM): listen on TLS too.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate.")] = None,
    tls_ca: TlsCa = None,
    dangerously_skip_certificate_checks: SkipChecks = False,
    verbose: Verbose = 0,
) -> None:
    """Answer every call and say back what is heard.

    The password of an account is asked for, or taken from SIP_PASSWORD.
    """
    from voip.cli.echo import EchoOptions
    from voip.cli.echo import echo as run_echo

    options = EchoOptions(
        aor=aor,
        host=host,
        port=port,
        proxy=proxy,
        codec=codec,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        dangerously_skip_certificate_checks=dangerously_skip_certificate_checks,
    )
    if loopback:
        from voip.cli.loopback import loopback as run_echo

    raise typer.Exit(run(run_echo(options, open_output(verbose))))


@app.command()
def call(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Whom to call: sip:USER@HOST.")],
    play: Annotated[Path | None, typer.Option(metavar="FILE.wav", help="Say this.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE.wav", help="Keep what is heard.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Hang up after this long.")
    ] = None,
    codec: Codec = None,
    host: Annotated[str, typer.Option(help="IP address to call from.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="Port to call from; 0 for any.")] = 0,
    account: Annotated[
        str | None, typer.Option(metavar="AOR", help="Call as sip:USER@DOMAIN, registered.")
    ] = None,
    proxy: Proxy = None,
    tls_ca: TlsCa = None,
    dangerously_skip_certificate_checks: SkipChecks = False,
    verbose: Verbose = 0,
) -> None:
    """Call somebody, play a file, record what they say, and report."""
    from voip.cli.call import CallOptions
    from voip.cli.call import call as run_call

    options = CallOptions(
        uri=uri,
        play=play,
        record=record,
        duration=duration,
        codec=codec,
        host=host,
        port=port,
        aor=account,
        proxy=proxy,
        tls_ca=tls_ca,
        dangerously_skip_certificate_checks=dangerously_skip_certificate_checks,
    )
    raise typer.Exit(run(run_call(options, open_output(verbose))))
