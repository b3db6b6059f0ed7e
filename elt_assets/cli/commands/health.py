"""`elt-assets health` and `serve-health`: print the health report, or serve it over HTTP."""

from __future__ import annotations

import click

from elt_assets.cli.commands.server.dev import refuse_a_port_in_use
from elt_assets.cli.commands.server.runs import at_url
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform
from elt_assets.config.settings import load_settings

without_server = click.option(
    "--no-server",
    is_flag=True,
    help="Check the stores only; for hosts where no web server and no daemon should run.",
)


@click.command(
    epilog="Example: elt-assets health --json\n\nExit status: 1 if anything needs a person, else 0."
)
@at_url
@without_server
@as_json
def health(url: str, no_server: bool, as_json: bool) -> int:
    """Report what is wrong: stores, disk, daemon, failing and overdue integrations."""
    with existing_platform():
        pass
    from elt_assets.monitoring.health_report import report

    if no_server:
        found = report(load_settings())
    else:
        from elt_assets.client.web_server import Server

        found = report(load_settings(), Server(url))
    if as_json:
        print_json(found.as_json())
    else:
        print_table(
            ("check", "result", "detail"),
            [(check.name, "ok" if check.ok else "failed", check.detail) for check in found.checks],
        )
    return 0 if found.ok else FAILED


@click.command(epilog="Example: elt-assets serve-health --port 8080")
@click.option("--host", help="Address to listen on. Default: ELT_ASSETS_HEALTH_HOST, 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen on. Default: ELT_ASSETS_HEALTH_PORT, 8080.",
)
@at_url
@without_server
def serve_health(host: str | None, port: int | None, url: str, no_server: bool) -> None:
    """Serve /health, /ready and /metrics; `elt-assets dev` includes this."""
    from elt_assets.client.web_server import Server
    from elt_assets.monitoring.endpoint import serve

    settings = load_settings()
    host, port = host or settings.health_host, port or settings.health_port
    refuse_a_port_in_use(host, port, "--port")
    note(f"health on http://{host}:{port}/health")
    serve(settings, None if no_server else Server(url), host, port)
