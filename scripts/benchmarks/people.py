"""People at one replica: logging in, calling when all tokens have run out, being there.

The provider is the development provider; it, the API and the browsers are one process on the other core.
"""
import time

from .machine import OTHERS, Foreign, Rounds, Told, cpu_seconds, free_port, resident_bytes, row, table, MEASURED
from .servers import Cloakroom, install


class Place:
    """A Cloakroom over a new store, and people."""

    def __init__(self, bench, kind, algorithm, access_tokens_live):
        cloakroom, provider, api = Cloakroom(bench.program), free_port(), free_port()
        self.store = bench.stores.new(kind)
        self.people = Told(bench.started, OTHERS, bench.measure, "browsers", cloakroom.url, provider, api, algorithm, access_tokens_live)
        cloakroom.start(bench.started, bench.folder, self.store, f"http://127.0.0.1:{provider}", f"http://127.0.0.1:{api}",
                        CLOAKROOM_ID_TOKEN_ALG=algorithm, CLOAKROOM_SCOPES="openid profile email offline_access")
        self.pid = cloakroom.process.pid


def logins(bench):
    """Whole logins: our login, the provider's authorization endpoint, our callback and its hop, with a code redeemed behind it."""
    install(bench.kinds)
    places = [Place(bench, kind, "RS256", 86400) for kind in bench.kinds]
    rounds, foreign = Rounds(), Foreign(bench.started)
    for place in places:
        place.people.tell("login", 32, 32)  # warm up
    for place in rounds.turns(bench.rounds, places):
        processes = {"ours": place.pid, "theirs": place.people.process.pid}
        before = {who: cpu_seconds(pid) for who, pid in processes.items()} | {"store": place.store.cpu_seconds()}
        with foreign:
            sample = place.people.tell("login", bench.sizes.logins, 32)
        after = {who: cpu_seconds(pid) for who, pid in processes.items()} | {"store": place.store.cpu_seconds()}
        rounds.add(place.store.kind, sample | {who: after[who] - before[who] for who in before})
    print(f"\n## Logins\n\nWhole logins by single sign-on at the development provider (ID tokens in RS256), 32 at a time; {bench.rounds} "
          f"rounds of {bench.sizes.logins}, medians; Cloakroom has one core; provider, browsers and the store's server share the other; "
          f"{foreign}. What is busy near 100 % is what limits.\n")
    table("store", "logins/s", "p50 ms", "p99 ms", "our CPU ms/login", "our core busy", "provider and browsers", "store's server")
    for place in places:
        kind = place.store.kind
        seconds = rounds.median(kind, "seconds")
        busy = {who: f"{rounds.median(kind, who) / seconds:.0%}" for who in ("ours", "theirs", "store")}
        row(place.store.name, f"{rounds.median(kind, 'rate'):.0f}", f"{rounds.median(kind, 'p50') / 1000:.1f}",
            f"{rounds.median(kind, 'p99') / 1000:.1f}", f"{rounds.median(kind, 'ours') * 1000 / bench.sizes.logins:.2f}", busy["ours"],
            busy["theirs"], busy["store"] if place.store.server else "–")


def storm(bench):
    """All access tokens run out, then everybody calls at once."""
    install(bench.kinds)
    sessions, calls = bench.sizes.storm, 5
    places = [Place(bench, kind, "ES256", bench.sizes.storm_tokens_live) for kind in bench.kinds]
    rounds, foreign = Rounds(), Foreign(bench.started)
    for place in places:
        place.people.tell("login", sessions, 8)
    for place in rounds.turns(bench.rounds, places):
        with foreign:
            rounds.add(place.store.kind, place.people.tell("storm", calls))
    print(f"\n## Refresh storm\n\n{sessions} sessions whose access tokens have all run out make {calls} calls each, all at once; then the same "
          f"with the new tokens. One replica on one core; the development provider (ID tokens in ES256), the API and the browsers share the "
          f"other; {bench.rounds} rounds, medians (grants: the most); times since the first call, ms; {foreign}.\n")
    table("store", "grants", "of sessions", "run out: p50", "p99", "all answered", "fresh: p50", "p99", "all answered")
    for place in places:
        kind = place.store.kind
        times = (f"{rounds.median(kind, when, key) / 1000:.0f}" for when in ("due", "fresh") for key in ("p50", "p99", "max"))
        row(place.store.name, f"{rounds.most(kind, 'grants')}", sessions, *times)


def memory(bench):
    """Bytes per session in `memory:`, and per idle connection."""
    rounds = Rounds()
    for _ in rounds.turns(bench.rounds, [None]):
        told = Told(bench.started, MEASURED, bench.measure, "store", "memory:")
        told.tell("fill", WARM)
        before = resident_bytes(told.process.pid)
        filled = told.tell("fill", WARM + bench.sizes.remembered)
        rounds.add("session", {"resident": resident_bytes(told.process.pid) - before, "rows": filled["bytes"]})
        told.end()
        place = Place(bench, "memory", "ES256", 86400)
        place.people.tell("connect", WARM)
        before = resident_bytes(place.pid)
        place.people.tell("connect", bench.sizes.connections)
        rounds.add("connection", {"resident": resident_bytes(place.pid) - before})
        place.people.end()
    sessions = bench.sizes.remembered
    resident, rows = (rounds.median("session", key) / sessions for key in ("resident", "rows"))
    connection = rounds.median("connection", "resident") / bench.sizes.connections
    print(f"\n## Memory\n\nResident memory, {bench.rounds} rounds, medians: {sessions} more sessions in the memory store; "
          f"{bench.sizes.connections} more connections that made one call and are idle (HTTP/1.1, no TLS).\n")
    table("", "bytes each", "of which sealed blobs, key and terms")
    row("session", f"{resident:.0f}", f"{rows:.0f}")
    row("idle connection", f"{connection:.0f}", "–")


def events(bench):
    """Bytes and CPU of idle event streams."""
    rounds, foreign = Rounds(), Foreign(bench.started)
    streams, seconds = bench.sizes.streams, bench.sizes.streams_idle
    for _ in rounds.turns(bench.rounds, [None]):
        place = Place(bench, "memory", "ES256", 86400)
        place.people.tell("login", WARM, 8)
        place.people.tell("events", WARM)
        before = resident_bytes(place.pid)
        place.people.tell("events", streams)
        resident, cpu = resident_bytes(place.pid) - before, cpu_seconds(place.pid)
        with foreign:
            time.sleep(seconds)
        rounds.add("stream", {"resident": resident, "cpu": cpu_seconds(place.pid) - cpu})
        place.people.end()
    print(f"\n## Event streams\n\n{streams} idle streams of `/bff/events` on connections of their own (HTTP/1.1, no TLS), of {WARM} sessions "
          f"in the memory store, watched for {seconds} s of heartbeats and looks at the row; {bench.rounds} rounds, medians; {foreign}.\n")
    table("streams", "bytes each, connection included", "our core busy")
    row(streams, f"{rounds.median('stream', 'resident') / streams:.0f}", f"{rounds.median('stream', 'cpu') / seconds:.2%}")


WARM = 100  # allocators and pools have grown before anything counts
