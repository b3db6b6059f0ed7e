"""`elt-assets provider`: run the embedded provider alone, for trying connectors."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from elt_assets.cli.console.output import note, program
from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.registration import provider_data
from elt_assets.demo.serving.provider_server import serve
from elt_assets.errors import EltAssetsError, InvalidInput

_DEFAULTS = DemoLayout()


def world_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the size of the embedded provider."""
    for name, value, text in reversed(
        (
            ("--organizations", _DEFAULTS.organizations, "Number of organizations."),
            (
                "--integrations",
                _DEFAULTS.integrations,
                "Number of integrations, distributed over the organizations.",
            ),
            ("--users", _DEFAULTS.users, "People in each integration."),
            (
                "--seed",
                _DEFAULTS.seed,
                "Seed of the random people; the same seed makes the same people.",
            ),
            ("--page-size", _DEFAULTS.page_size, "People on a page."),
        )
    ):
        command = click.option(name, type=int, default=value, show_default=True, help=text)(command)
    return command


@click.command(epilog="Example: elt-assets provider --port 8000 --users 500")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="a free one",
    help="Port on 127.0.0.1.",
)
@world_options
@click.option(
    "--round",
    type=int,
    default=1,
    show_default=True,
    help="Round to start with; people change, leave and join between rounds.",
)
@click.option(
    "--signins",
    type=int,
    default=_DEFAULTS.signins,
    show_default=True,
    help="Sign-ins in an integration in a day.",
)
@click.option(
    "--chaos",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of page requests that fail at first, such as 0.02.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 60_000),
    default=0.0,
    show_default=True,
    help="Milliseconds before each answer.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the bearer token, created if absent. Default: demo/token in ELT_ASSETS_HOME.",
)
def provider(port: int, token_file: Path | None, **layout_options: Any) -> None:
    """Serve generated people over HTTP on loopback until Ctrl-C."""
    layout = DemoLayout(**layout_options)
    token_path = (token_file or token_file_of(load_settings())).absolute()
    try:
        serve(
            layout,
            token=token_in(token_path),
            port=port,
            ready=lambda url: _introduce(url, layout, token_path),
        )
    except KeyboardInterrupt:
        note("stopped")


def token_file_of(settings: Settings) -> Path:
    """The file in which the demo keeps the embedded provider's token."""
    return settings.home / "demo" / "token"


def token_in(path: Path) -> str:
    """Return the token in the file; an absent file is created, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = path.read_text(encoding="utf-8").strip()
        if not token:
            raise InvalidInput(f"{path} is empty: put a token into it or delete it") from None
        return token
    except OSError as error:
        raise EltAssetsError(f"the token file {path} cannot be created: {error.strerror}") from None
    token = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


def command_line(layout: DemoLayout, port: int) -> str:
    """The command that serves this layout on this port, with the token of the demo."""
    names = ("organizations", "integrations", "users", "seed", "page_size", "round", "signins")
    options = [
        f"--{name.replace('_', '-')} {getattr(layout, name)}"
        for name in names
        if getattr(layout, name) != getattr(_DEFAULTS, name)
    ]
    return " ".join((program(), "provider", f"--port {port}", *options))


def _introduce(url: str, layout: DemoLayout, token_path: Path) -> None:
    """Print where the provider listens and how to connect its first integration."""
    click.echo(f"{url} serves {layout.integrations:,} integrations of {layout.users:,} people.")
    ref = next(iter(layout.worlds()), None)
    if ref is None:
        return
    data = yaml.safe_dump(
        provider_data(url, ref, {"file": str(token_path)}, single=True),
        sort_keys=False,
        allow_unicode=True,
    )
    click.echo(
        "Connect the first one with:\n\n"
        f"{program()} integrations add --org {shlex.quote(ref.organization_id)} "
        f"--id {shlex.quote(ref.integration_id)} --provider rest --data - <<'YAML'\n{data}YAML\n"
    )
    note("stop with Ctrl-C")
