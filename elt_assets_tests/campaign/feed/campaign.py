"""Rounds in which people change and processes die; then everybody's copy is compared.

Processes are forked from one that has imported everything, so that a death costs a fork. A campaign
is divided into installations of so many deaths each, with seeds of their own.
"""

from __future__ import annotations

import base64
import multiprocessing
import random
import signal
import socket
import sqlite3  # noqa: TID251 (the application's own file)
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier

from elt_assets.config.secret_refs import SecretRef
from elt_assets.feed.consumers import ConsumerEndpoint, Consumers
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.campaign.feed import processes
from elt_assets_tests.campaign.feed.oracles import Copies, judge
from elt_assets_tests.campaign.feed.processes import SETTINGS, Act, Death
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.shares import in_shares
from elt_assets_tests.connectors.serving import Asked, Provider, Reply
from elt_assets_tests.sync.worlds import Company, person

REFS = (IntegrationRef("acme", "main"), IntegrationRef("globex", "main"))
VICTIMS = ("applying", "delivering", "serving", "pulling")
_KEY = "whsec_" + base64.b64encode(b"c" * 32).decode()
_PRELOADED = ("elt_assets.connectors.rest.rest_source", "elt_assets.feed.feed_app", "uvloop")
_PEOPLE = 30
_BOUNDARIES = {"applying": 26, "delivering": 10}
"""About as many as a round has, so that each is met."""
_LONGEST = {"applying": 0.25, "delivering": 0.1, "serving": 0.25, "pulling": 0.1}
"""Seconds until a death at a random instant; about as long as that process takes."""
_MOST_IN_A_ROW = 4
_SERVED = 0.5
"""Share of the rounds in which the server dies while somebody pulls."""
_DEATHS_OF_AN_INSTALLATION = 500
_REFUSED = 0.1
"""Share of messages that the receiver does not take."""


def feed_campaign(folder: Path, kills: int, seed: int) -> Figures:
    """Let processes die so many times, in installations beside each other."""
    firsts = range(0, kills, _DEATHS_OF_AN_INSTALLATION)
    shares = [
        (folder / str(number), seed + number, min(_DEATHS_OF_AN_INSTALLATION, kills - first))
        for number, first in enumerate(firsts)
    ]
    return in_shares("feed", _installation, shares)


def _installation(share: tuple[Path, int, int]) -> Figures:
    folder, seed, kills = share
    return FeedCampaign(folder, seed).run(kills)


@dataclass
class FeedCampaign:
    """One installation, a consumer that pulls, one that is sent entries, and deaths."""

    folder: Path
    seed: int
    figures: Figures = field(default_factory=lambda: Figures("feed"))
    received: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._home = self.folder / "home"
        self._copy = self.folder / "copy.db"
        self._fork = multiprocessing.get_context("forkserver")
        self._fork.set_forkserver_preload([processes.__name__, *_PRELOADED])
        self._people = {ref: [person(n) for n in range(_PEOPLE)] for ref in REFS}
        self._next = _PEOPLE
        self._newest: dict[IntegrationRef, str] = {}

    def run(self, kills: int) -> Figures:
        """Let processes die so many times, and compare in between and at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "key"
        secret.write_text(_KEY)
        company = Company(self._home, **SETTINGS)
        try:
            for ref in REFS:
                company.connect(ref)
            with Provider(self._receive) as receiver:
                consumers = Consumers(company.platform.database)
                token = consumers.add("pulls", Scope(), after="0")
                hook = ConsumerEndpoint(receiver.url, SecretRef(file=str(secret)))
                consumers.add("is-sent", Scope(), hook, after="0")
                self._live(company, consumers, str(token), kills)
        finally:
            company.platform.close()
        return self.figures

    def _live(self, company: Company, consumers: Consumers, token: str, kills: int) -> None:
        server = _Server(self._fork, self._home)
        try:
            while self.figures.seen["kills"] < kills:
                self._round(consumers, token, server)
                if self.figures.seen["rounds"] % 10 == 0:
                    self._compare(company, consumers, token, server)
            self._compare(company, consumers, token, server)
        finally:
            server.kill()

    def _round(self, consumers: Consumers, token: str, server: _Server) -> None:
        """Change something once, while each process dies up to some times in a row."""
        self.figures.seen["rounds"] += 1
        acting = (self._home, self._act())
        pulling = (server.url, token, str(self._copy))
        self._die_in_a_row("applying", processes.apply, *acting)
        # What was interrupted is tried again, as the recovery sensor does.
        self._lives(processes.apply, *acting, Death())
        if _failed(consumers):
            consumers.retry("is-sent")
        self._die_in_a_row("delivering", processes.deliver, self._home)
        if self._dice.random() < _SERVED:
            catching_up = self._started(processes.pull, *pulling, Death())
            time.sleep(self._dice.uniform(0, _LONGEST["serving"]))
            server.restart()
            catching_up.join()
            self._count("serving", "at a random instant")
        self._die_in_a_row("pulling", processes.pull, *pulling)

    def _die_in_a_row(self, victim: str, work: Callable[..., None], *arguments: Any) -> None:
        """Let the work be killed some times in a row, at most until it ends."""
        for _ in range(_MOST_IN_A_ROW):
            if not self._dies(victim, work, *arguments):
                return

    def _act(self) -> Act:
        ref = self._dice.choice(REFS)
        number = self.figures.seen["rounds"]
        newest = self._newest.get(ref)
        kind = self._dice.choices(("sync", "undo", "rebuild"), (8, 1, 1))[0] if newest else "sync"
        if kind == "undo":
            del self._newest[ref]
            return Act(kind, ref, str(newest), [])
        if kind == "rebuild":
            return Act(kind, ref, "", [])
        people = self._people[ref]
        del people[self._dice.randrange(len(people))]
        people[0] = {**people[0], "name": f"Renamed in {number}"}
        people.append(person(self._next))
        self._next += 1
        self._dice.shuffle(people)
        self._newest[ref] = f"s{number}"
        return Act(kind, ref, f"s{number}", list(people))

    def _dies(self, victim: str, work: Callable[..., None], *arguments: Any) -> bool:
        """Do the work in a process that dies on the way, unless it was faster; whether it died."""
        boundaries = _BOUNDARIES.get(victim)
        if boundaries is not None and self._dice.random() < 0.7:
            death, when = Death(boundary=self._dice.randrange(boundaries)), "at a commit"
        else:
            seconds = self._dice.uniform(0, _LONGEST[victim])
            death, when = Death(seconds=seconds), "at a random instant"
        process = self._started(work, *arguments, death)
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{work.__name__} ended with {process.exitcode}")
        died = bool(process.exitcode)
        if died:
            self._count(victim, when)
        return died

    def _lives(self, work: Callable[..., None], *arguments: Any) -> None:
        process = self._started(work, *arguments)
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{work.__name__} ended with {process.exitcode}")

    def _started(self, work: Callable[..., None], *arguments: Any) -> Any:
        process = self._fork.Process(target=work, args=arguments)
        process.start()
        return process

    def _count(self, victim: str, when: str) -> None:
        self.figures.seen["kills"] += 1
        self.figures.fired[f"{victim}, {when}"] += 1

    def _compare(self, company: Company, consumers: Consumers, token: str, server: _Server) -> None:
        """Let everybody catch up, and judge what they have."""
        server.restart()
        self._lives(processes.pull, server.url, token, str(self._copy), Death())
        while True:
            if _failed(consumers):
                consumers.retry("is-sent")
            self._lives(processes.deliver, self._home, Death())
            if not _failed(consumers):
                break
        copies = Copies.of(company, REFS, _rows(self._copy), self.received)
        self.figures.seen["comparisons"] += 1
        self.figures.seen["entries"] = len(copies.entries)
        self.figures.seen["messages sent again"] = len(self.received) - len(set(self.received))
        self.figures.judge(f"seed {self.seed}", judge(copies))

    def _receive(self, asked: Asked) -> Reply:
        message = Verifier(_KEY).verify(asked.body, dict(asked.headers))
        if self._dice.random() < _REFUSED:
            return Reply(status=500)
        self.received += [entry["position"] for entry in message["data"]["entries"]]
        return Reply(status=204)


class _Server:
    """The process that serves the feed, always at one address."""

    def __init__(self, fork: Any, home: Path) -> None:
        self._fork = fork
        self._home = home
        with socket.create_server(("127.0.0.1", 0)) as found:
            self._port = int(found.getsockname()[1])
        self._process: Any = None
        self.restart()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self._process = self._fork.Process(target=processes.serve, args=(self._home, self._port))
        self._process.start()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                if self._process.exitcode is not None:
                    raise RuntimeError("the feed's server ended by itself") from None
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _failed(consumers: Consumers) -> bool:
    return consumers.get("is-sent").failures > 0


def _rows(file: Path) -> Mapping[tuple[str, str, str], str]:
    with sqlite3.connect(file) as copy:
        rows = copy.execute("SELECT org, integration, id, row FROM users")
        return {(row[0], row[1], row[2]): row[3] for row in rows}
