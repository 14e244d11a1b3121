"""The commands and their options; what they do is in `voip.cli.echo` and its neighbours.

Those are imported by the command that needs them: help and mistakes are then told in a third of the
time, without the SIP stack and NumPy.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from voip import __version__
from voip.cli.messages import reason_of
from voip.cli.output import complain, open_output

__all__ = ["app"]

# typer has a click of its own in some releases, and the one of the system in others.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    """Says in one line what is wrong with a command line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and exit where this is the whole program."""
        whole = kwargs.pop("standalone_mode", True)
        work = functools.partial(super().main, *args, **{**kwargs, "standalone_mode": False})
        if not whole:
            return work()
        try:
            status = work() or 0
        except _UsageError as error:
            complain(_words(error))
            status = 2
        except typer.Abort:
            status = 130
        except OSError as error:
            complain(f"cannot write what happens: {reason_of(error)}")
            status = 1
        raise SystemExit(status)


def _words(error: Any) -> str:
    said = " ".join(error.format_message().split()).rstrip(".")
    context = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
    return f"{said[:1].lower()}{said[1:]}{context}"


app = typer.Typer(
    name="voip",
    cls=_Commands,
    help="Answer and make phone calls.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: boxes have no room for long options, and take 0.1 s
    context_settings={"help_option_names": ["-h", "--help"]},
)

Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        count=True,
        show_default=False,
        help="Show SIP: -v first lines, -vv headers, -vvv bodies.",
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Use this codec only: opus, g722, pcma, pcmu, l16."),
]
Proxy = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Send every request of the account here first."),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Who may vouch for a SIP domain (PEM); default: the system's."
    ),
]
SkipChecks = Annotated[
    bool,
    typer.Option(
        "--dangerously-skip-certificate-checks",
        help="Take any certificate. Whoever is in between can then listen and speak.",
    ),
]


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"voip {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version."),
    ] = False,
) -> None:
    """Answer and make phone calls."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def echo(
    aor: Annotated[
        str | None,
        typer.Argument(metavar="AOR", help="Register as sip:USER@DOMAIN; none: just listen."),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="IP address to listen on.")
    ] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port for UDP and TCP; TLS has the next one."
        ),
    ] = 5060,
    proxy: Proxy = None,
    codec: Codec = None,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Call ourselves on free ports, report, and end.")
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificate chain (PEM): listen on TLS too."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key of the certificate, if not in its file."),
    ] = None,
    tls_ca: TlsCa = None,
    dangerously_skip_certificate_checks: SkipChecks = False,
    verbose: Verbose = 0,
) -> None:
    """Answer every call and say back what is heard.

    The password of an account is asked for, or taken from SIP_PASSWORD.
    """
    from voip.cli.echo import EchoOptions
    from voip.cli.echo import echo as command
    from voip.cli.running import run

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
        from voip.cli.loopback import loopback as command

    output = open_output(verbose)
    raise typer.Exit(run(functools.partial(command, options, output), output))


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
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="IP address to call from.")
    ] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, help="Port to call from; 0 for any."),
    ] = 0,
    account: Annotated[
        str | None, typer.Option(metavar="AOR", help="Call as sip:USER@DOMAIN, registered.")
    ] = None,
    proxy: Proxy = None,
    tls_ca: TlsCa = None,
    dangerously_skip_certificate_checks: SkipChecks = False,
    verbose: Verbose = 0,
) -> None:
    """Call somebody, play a file, record what they say, and report.

    Without --duration it hangs up a second after the file, or when they do. The password of an
    account is asked for, or taken from SIP_PASSWORD.
    """
    from voip.cli.call import CallOptions
    from voip.cli.call import call as command
    from voip.cli.running import run

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
    output = open_output(verbose)
    raise typer.Exit(run(functools.partial(command, options, output), output))
