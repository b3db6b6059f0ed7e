"""Emulators of well-known providers, written from their public documentation.

They share no code with the connectors and presets that are checked against them.
"""

from __future__ import annotations

from elt_assets.conformance.emulators.atlassian import ATLASSIAN
from elt_assets.conformance.emulators.auth0 import AUTH0
from elt_assets.conformance.emulators.description import Emulation
from elt_assets.conformance.emulators.entra_id import ENTRA_ID
from elt_assets.conformance.emulators.github import GITHUB
from elt_assets.conformance.emulators.gitlab import GITLAB
from elt_assets.conformance.emulators.google_workspace import GOOGLE_WORKSPACE
from elt_assets.conformance.emulators.jumpcloud import JUMPCLOUD
from elt_assets.conformance.emulators.okta import OKTA
from elt_assets.conformance.emulators.onelogin import ONELOGIN
from elt_assets.conformance.emulators.slack import SLACK

EMULATIONS: dict[str, Emulation] = {
    emulation.provider: emulation
    for emulation in (
        ATLASSIAN,
        AUTH0,
        ENTRA_ID,
        GITHUB,
        GITLAB,
        GOOGLE_WORKSPACE,
        JUMPCLOUD,
        OKTA,
        ONELOGIN,
        SLACK,
    )
}
