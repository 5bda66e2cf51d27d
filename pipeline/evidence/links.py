"""Links to evidence that only we can make and that expire: `/evidence/<event>/<part>?expires=…&signature=…`."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from operators.clock import NS_PER_S, seconds_to_ns
from operators.cloudevent import EvidenceLinks
from operators.errors import SettingsError
from operators.evidence.settings import ServeSettings
from operators.notify import secret
from operators.records import Alert
from pipeline.evidence.making import PARTS

PATH = re.compile(rf"/evidence/(?P<event>[0-9a-f]{{32}})/(?P<part>{'|'.join(PARTS)})")
QUERY = re.compile(r"expires=(?P<expires>[0-9]{1,12})&signature=[0-9a-f]{64}")


class Signer:
    """Makes the links of alerts, and tells ours from others. Any thread may call any method."""

    def __init__(self, settings: ServeSettings, keys: Sequence[bytes]) -> None:
        """Sign with the first of `keys`; any of them is good."""
        self._base = (settings.base_url or f"http://{_host(settings.host)}:{settings.port}").rstrip("/")
        self._lifetime_ns, self._keys = seconds_to_ns(settings.link_lifetime_s), keys

    def links(self, alert: Alert) -> EvidenceLinks:
        """The links of the alert's event, the same on every retry."""
        expires = ((alert.event.received_ns or alert.created_ns) + self._lifetime_ns) // NS_PER_S
        return EvidenceLinks(**{part: self.link(f"/evidence/{alert.event.id}/{part}", expires) for part in PARTS})

    def link(self, path: str, expires: int) -> str:
        """The whole link; `expires` in seconds since the epoch."""
        return f"{self._base}{path}?{_query(self._keys[0], path, expires)}"

    def allows(self, path: str, query: str, now_ns: int) -> bool:
        """Whether a request's path and query are, letter for letter, of a link of ours that has not expired."""
        given = QUERY.fullmatch(query)
        if given is None:
            return False
        expires = int(given["expires"])
        ours = [hmac.compare_digest(_query(key, path, expires), query) for key in self._keys]
        return any(ours) and expires * NS_PER_S > now_ns


def signer_of(settings: ServeSettings, secrets: Path | None) -> Signer:
    """The signer with the secret that the settings name, or with one that is kept in the folder `secrets`.

    Raises:
        SettingsError: there is no secret where it should be, or none is named and there is no such folder.
    """
    if settings.secret_env is not None and settings.secret_file is not None:
        message = "evidence.serve: secret_env and secret_file exclude each other"
        raise SettingsError(message)
    if settings.secret_env is not None:
        return Signer(settings, secret.from_environment("evidence.serve.secret_env", settings.secret_env))
    if settings.secret_file is not None:
        return Signer(settings, secret.from_file("evidence.serve.secret_file", Path(settings.secret_file)))
    if secrets is None:
        message = "evidence.serve: on a cluster the links' secret is shared: name it by secret_env or secret_file"
        raise SettingsError(message)
    return Signer(settings, secret.kept("evidence.serve", secrets / "evidence.secret"))


def _query(key: bytes, path: str, expires: int) -> str:
    signature = hmac.new(key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
    return f"expires={expires}&signature={signature}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
