"""A link is ours, unaltered and not expired, or it lets nobody in; the same alert always has the same links."""

from __future__ import annotations

import base64
import io
import json
import string
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.clock import NS_PER_S
from operators.cloudevent import EvidenceLinks, alert_to_cloudevent
from operators.errors import SettingsError
from operators.evidence.settings import ServeSettings
from operators.notify.alertmanager import posted
from operators.notify.stdout import Stdout, StdoutSettings
from operators.notify.text import body_of
from operators.notify.webhook import MAX_BODY_BYTES
from operators.records import Sentiment
from pipeline.evidence.links import Signer, signer_of
from pipeline.evidence.making import PARTS
from tests.operators.notify.events import T0, an_alert, an_event

SETTINGS = ServeSettings(port=9001, base_url="https://guard.example/lookout/", link_lifetime_s=3600)
KEY, OLD_KEY = b"k" * 32, b"o" * 32
SIGNER = Signer(SETTINGS, [KEY])
EXPIRES_NS = T0 + 3600 * NS_PER_S


def all_links(links: EvidenceLinks) -> list[str]:
    return list(msgspec.structs.asdict(links).values())


def allowed(link: str, now_ns: int = T0, signer: Signer = SIGNER) -> bool:
    split = urlsplit(link)
    return signer.allows(split.path.removeprefix("/lookout"), split.query, now_ns)


def test_the_links_of_an_alert_let_in_until_they_expire() -> None:
    links = all_links(SIGNER.links(an_alert()))
    assert [link.partition("?")[0] for link in links] == [
        f"https://guard.example/lookout/evidence/{an_alert().event.id}/{part}" for part in PARTS]
    for link in links:
        assert allowed(link)
        assert allowed(link, EXPIRES_NS - 1)
        assert not allowed(link, EXPIRES_NS)


def test_every_alert_of_an_event_and_every_retry_has_links_to_the_same_evidence() -> None:
    one, other = an_alert(), an_alert(rule="another")
    assert one.id != other.id
    assert SIGNER.links(one) == SIGNER.links(other) == SIGNER.links(one)


@given(st.sampled_from(all_links(SIGNER.links(an_alert()))), st.data())
def test_whatever_is_altered_lets_nobody_in(link: str, data: st.DataObject) -> None:
    start = link.index("/evidence")
    place = data.draw(st.integers(start, len(link) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "/?=&%.-_é"))
    altered = data.draw(st.sampled_from([link[:place] + letter + link[place + 1:], link[:place] + link[place + 1:],
                                         link[:place] + letter + link[place:]]))
    assert altered == link or not allowed(altered)


@pytest.mark.parametrize("written", [
    ("expires=", "expires=0"), ("?", "?&"), ("&", "&&"), ("&", "&more=1&"), ("expires", "%65xpires")])
def test_a_link_written_otherwise_lets_nobody_in(written: tuple[str, str]) -> None:
    clip = SIGNER.links(an_alert()).clip
    assert clip.replace(*written) != clip
    assert not allowed(clip.replace(*written))


@given(st.text(), st.text())
def test_nothing_made_up_lets_anybody_in_or_breaks(path: str, query: str) -> None:
    assert not SIGNER.allows(path, query, T0)


def test_secrets_change_over() -> None:
    both = Signer(SETTINGS, [KEY, OLD_KEY])
    old = Signer(SETTINGS, [OLD_KEY]).links(an_alert()).clip
    assert allowed(old, signer=both)
    assert not allowed(old)
    assert both.links(an_alert()) == SIGNER.links(an_alert())


def test_the_secret_comes_from_where_it_is_said_or_is_made_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = base64.b64encode(KEY).decode()
    (tmp_path / "secret").write_text(text)
    monkeypatch.setenv("EVIDENCE_SECRET", text)
    for fields in ({"secret_env": "EVIDENCE_SECRET"}, {"secret_file": str(tmp_path / "secret")}):
        named = signer_of(msgspec.structs.replace(SETTINGS, **fields), None)
        assert named.links(an_alert()) == SIGNER.links(an_alert())
    made = [signer_of(SETTINGS, tmp_path / "secrets").links(an_alert()) for _ in range(2)]
    assert made[0] == made[1] != SIGNER.links(an_alert())
    with pytest.raises(SettingsError, match="^evidence.serve: on a cluster the links' secret is shared"):
        signer_of(SETTINGS, None)
    with pytest.raises(SettingsError, match="exclude each other"):
        signer_of(msgspec.structs.replace(SETTINGS, secret_env="A", secret_file="b"), None)  # noqa: S106 - its name


def test_without_a_base_url_the_links_lead_to_where_it_is_served() -> None:
    assert Signer(ServeSettings(port=9001), [KEY]).links(an_alert()).clip.startswith("http://127.0.0.1:9001/evidence/")
    assert Signer(ServeSettings(port=9001, host="::1"), [KEY]).links(an_alert()).why.startswith("http://[::1]:9001/")


def test_an_alert_with_links_is_what_the_schema_says_and_small() -> None:
    event = an_event(camera="c" * 200, label="l" * 100, sentiment=Sentiment("negative", 0.8, 0.15, 0.05))
    alert = msgspec.structs.replace(an_alert(), event=event)
    long = Signer(msgspec.structs.replace(SETTINGS, base_url="https://" + "h" * 500), [KEY])
    message = alert_to_cloudevent(alert, long.links)
    assert message["data"]["evidence"] == msgspec.structs.asdict(long.links(alert))
    assert len(msgspec.json.encode(message)) < MAX_BODY_BYTES // 4


def test_every_kind_of_receiver_is_told_the_links() -> None:
    """Webhooks are in tests/end_to_end/test_evidence.py."""
    links, out = SIGNER.links(an_alert()), io.BytesIO()
    Stdout(StdoutSettings(), out, links=SIGNER.links).deliver(an_alert())
    assert json.loads(out.getvalue())["data"]["evidence"] == msgspec.structs.asdict(links)
    assert posted(an_alert(), SIGNER.links)["annotations"].items() >= msgspec.structs.asdict(links).items()
    assert f"clip: {links.clip}" in body_of(an_alert(), SIGNER.links).splitlines()
