"""django-scim2: e-mail addresses may be empty texts, and each page holds 50 users at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_pypi
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_PROGRAM = """
import sys

from django import setup
from django.conf import settings
from django.core.wsgi import get_wsgi_application

PORT, TOKEN, FOLDER = int(sys.argv[1]), sys.argv[2], sys.argv[3]
NAME = "people"


def with_token(get_response):
    def middleware(request):
        from django.contrib.auth import get_user_model

        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            request.user = get_user_model()(username="test")
        return get_response(request)

    return middleware


settings.configure(
    SECRET_KEY="only here",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="people_urls",
    AUTH_USER_MODEL="people.User",
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "people"],
    MIDDLEWARE=["__main__.with_token"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER + "/people.sqlite"}
    },
    SCIM_SERVICE_PROVIDER={
        "NETLOC": f"127.0.0.1:{PORT}",
        "SCHEME": "http",
        "GROUP_MODEL": "people.models.Group",
        "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "token"}],
    },
)
sys.path.insert(0, FOLDER)
setup()

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from django.core.management import call_command


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


call_command("migrate", run_syncdb=True, verbosity=0)
make_server("127.0.0.1", PORT, get_wsgi_application(), Server).serve_forever()
"""
_MODELS = """
from django.contrib.auth.models import AbstractUser
from django.db import models
from django_scim.models import AbstractSCIMGroupMixin, AbstractSCIMUserMixin


class User(AbstractSCIMUserMixin, AbstractUser):
    scim_groups = models.ManyToManyField("people.Group", related_name="user_set")


class Group(AbstractSCIMGroupMixin):
    name = models.CharField(max_length=80)
"""
_URLS = """
from django.urls import include, path

urlpatterns = [path("scim/v2/", include("django_scim.urls", namespace="scim"))]
"""


@contextmanager
def django_scim2(folder: Path) -> Iterator[Directory]:
    """A server without users."""
    python = from_pypi("django-scim2", "django-scim2==0.23", "django==5.2.*") / "venv/bin/python"
    app = folder / "people"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "models.py").write_text(_MODELS)
    (folder / "people_urls.py").write_text(_URLS)
    (folder / "program.py").write_text(_PROGRAM)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [python, folder / "program.py", str(port), TOKEN, str(folder)]
    with running(command, folder / "log", f"{url}/scim/v2/Users"):
        yield DjangoScim2(url, Api(url, {"Authorization": f"Bearer {TOKEN}"}))


@dataclass
class DjangoScim2:
    """The users of a server."""

    url: str
    api: Api
    provider: str = "scim"
    listing: str = "/scim/v2/Users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it, with small pages, so that something is between them."""
        return documented("SCIMMY and django-scim2", url, count=20)

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A user is made; each third has no address."""
        login = f"p{number:05}"
        user: dict[str, Any] = {
            "schemas": [_USER],
            "userName": login,
            "name": {"givenName": "Person", "familyName": str(number)},
            "active": True,
        }
        if number % 3:
            user["emails"] = [{"value": f"{login}@acme.example", "primary": True}]
        return str(self.api("POST", self.listing, user)["id"])

    def change(self, key: str, name: str) -> None:
        """A user takes another name."""
        user = self.api("GET", f"{self.listing}/{key}")
        named = {"givenName": "Person", "familyName": name}
        self.api("PUT", f"{self.listing}/{key}", user | {"name": named})

    def leave(self, key: str) -> None:
        """A user is deleted."""
        self.api("DELETE", f"{self.listing}/{key}")
