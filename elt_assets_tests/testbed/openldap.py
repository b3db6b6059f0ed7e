"""A real OpenLDAP for tests: Debian's slapd with data in a temporary folder, on loopback.

What is in it is said by the tests, as LDIF.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ldap3 import NONE, Connection, Server

from elt_assets_tests.testbed.servers import (
    PASSWORD,
    certificate_of_loopback,
    folder_of_its_own,
    free_port,
    running_server,
    unprivileged,
    wait_until_it_listens,
)

BASE = "dc=acme,dc=example"
ADMIN = f"cn=admin,{BASE}"
READER = f"cn=reader,{BASE}"
LIMITED = f"cn=limited,{BASE}"
"""An account that gets 25 entries of a search, however it is paged."""

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile {certificate}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
sizelimit unlimited
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw "{password}"
directory {data}
maxsize 1073741824
dbnosync
index objectClass,entryUUID,uid,modifyTimestamp eq
limits dn.exact="{limited}" size=25
access to attrs=userPassword by anonymous auth
access to dn.subtree="ou=hidden,{base}" by * none
access to * by * read
overlay memberof
"""
_FIRST = """\
dn: {base}
objectClass: dcObject
objectClass: organization
dc: acme
o: Acme

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {password}

dn: {limited}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: limited
userPassword: {password}

"""


@dataclass(frozen=True)
class OpenLdap:
    """A running server."""

    port: int
    tls_port: int
    authority: Path
    """The file that whoever wants to verify the server must trust."""

    def connection(self, **differing: Any) -> dict[str, Any]:
        """The connection part of provider_data."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "tls": "off",
            "user": READER,
            "password": {"env": "LDAP_PASSWORD"},
            **differing,
        }

    @contextmanager
    def administered(self) -> Iterator[Connection]:
        """A connection that may do everything, and raises where it may not."""
        server = Server("127.0.0.1", self.port, get_info=NONE)
        with Connection(server, ADMIN, PASSWORD, raise_exceptions=True) as connection:
            yield connection


@contextmanager
def openldap(entries: Iterable[str] = ()) -> Iterator[OpenLdap]:
    """An OpenLDAP of this machine that holds `entries` (LDIF); skips the test where there is none.

    There are accounts, and the units people and groups below BASE.
    """
    program = shutil.which("slapd", path="/usr/sbin:/usr/libexec:/usr/lib")
    if program is None or not Path("/usr/lib/ldap").exists():
        pytest.skip("slapd is not installed; .ci/install-servers installs it")
    with folder_of_its_own() as folder:
        certificate, key = certificate_of_loopback(folder)
        data = folder / "data"
        data.mkdir()
        configuration = folder / "slapd.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                certificate=certificate,
                key=key,
                base=BASE,
                admin=ADMIN,
                limited=LIMITED,
                password=PASSWORD,
                data=data,
            )
        )
        ldif = folder / "first.ldif"
        with ldif.open("w") as file:
            file.write(_FIRST.format(base=BASE, reader=READER, limited=LIMITED, password=PASSWORD))
            file.writelines(entries)
        subprocess.run(
            ["/usr/sbin/slapadd", "-q", "-f", configuration, "-l", ldif],
            check=True,
            stderr=subprocess.PIPE,
        )
        for made in folder.rglob("*"):
            shutil.chown(made, *_owner())
        server = OpenLdap(free_port(), free_port(), certificate)
        addresses = f"ldap://127.0.0.1:{server.port} ldaps://127.0.0.1:{server.tls_port}"
        with running_server(
            [program, "-f", configuration, "-h", addresses, "-d", "0"], folder
        ) as process:
            wait_until_it_listens(process, folder, server.port)
            yield server


def _owner() -> tuple[int | None, int | None]:
    found = unprivileged()
    return found.get("user", -1), found.get("group", -1)


def person(number: int, **differing: str) -> str:
    """A person in LDIF; a value of several lines is several values."""
    values = {
        "cn": f"Person {number}",
        "sn": f"Name {number}",
        "displayName": f"Person {number}",
        "mail": f"p{number}@acme.example",
        **differing,
    }
    lines = [f"dn: uid=p{number},ou=people,{BASE}", "objectClass: inetOrgPerson", f"uid: p{number}"]
    for name, value in values.items():
        lines += [f"{name}: {line}" for line in value.splitlines()]
    return "\n".join(lines) + "\n\n"


def group(name: str, members: Iterable[str]) -> str:
    """A group in LDIF, with the names of entries as members."""
    lines = [f"dn: {group_name(name)}", "objectClass: groupOfNames", f"cn: {name}"]
    return "\n".join([*lines, *(f"member: {member}" for member in members)]) + "\n\n"


def person_name(number: int) -> str:
    """The distinguished name of a person."""
    return f"uid=p{number},ou=people,{BASE}"


def group_name(name: str) -> str:
    """The distinguished name of a group."""
    return f"cn={name},ou=groups,{BASE}"
