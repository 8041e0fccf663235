"""What one proxied, authenticated call costs, beside other proxies that do the same in the same run.

Each variant has logged somebody in at npm oidc-provider, drops the cookie, sets the access token as bearer token and keeps connections
to the API open; nginx, which cannot log in, sets a token of the same length. Every load has processes of its own.
"""
import subprocess
import sys

from . import peers
from .loads import LOADS, Upstream, Wrk, certificate
from .machine import ROOT, Foreign, Rounds, memory_bytes, row, table
from .servers import install


def measure(bench):
    stores = {*bench.kinds, *(store for peer in bench.peers for store in peers.STORES_OF.get(peer, []))}
    install(stores, "nginx-light", "wrk", "openssl")
    peers.install(bench.peers)
    subprocess.run(["npm", "ci", "--prefix", ROOT / "tests/real", "--no-audit", "--no-fund"], check=True, stdout=sys.stderr)
    for name in bench.loads:
        load = LOADS[name]
        print(f" {load.title}", file=sys.stderr)
        with bench.alone() as alone:
            measure_load(alone, load)
        sys.stdout.flush()


def measure_load(bench, load):
    tls = certificate(bench.folder) if load.tls else None
    upstream = Upstream(bench.started, bench.folder / "api")
    variants = peers.start(bench, upstream, load, tls)
    for variant in variants:
        peers.check(variant, load, tls)
    wrk, rounds, foreign = Wrk(bench.folder, load), Rounds(), Foreign(bench.started, bench.max_foreign)
    for variant in variants:
        wrk.run(variant, min(2, bench.seconds))  # warm up
    for variant in rounds.turns(bench.rounds, variants):
        sample = foreign.undisturbed(lambda: wrk.run(variant, bench.seconds))
        rounds.add(variant.name, sample | {"memory": memory_bytes(variant.pid) / 2**20})
    report(bench, load, rounds, foreign, [variant.name for variant in variants])


def report(bench, load, rounds, foreign, names):
    beside = names[1]  # nginx
    columns = load.columns()
    no_tls = "; the API speaks no TLS" if load.tls else ""
    print(f"\n## One authenticated call: {load.title}\n\n{bench.rounds} rounds of {bench.seconds} s, medians, “×” beside nginx; the proxy "
          f"has one core, load generator, API and servers of stores share the other{no_tls}; {foreign}.\n")
    table("", *(cell for heading in columns.values() for cell in (heading, "×")))
    for name in names:
        cells = []
        for key in columns:
            value = rounds.median(name, key)
            cells += [figure(value), f"{value / rounds.median(beside, key):.2f}"]
        row(f"{name} *" if rounds.any(name, "disturbed") else name, *cells)
    for name in names:
        if failed := sum(sample["errors"] for sample in rounds.samples[name]):
            print(f"\n{name}: {failed} of {sum(sample['requests'] for sample in rounds.samples[name])} calls failed.")


def figure(value):
    """Three digits that count, and thousands apart."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", " ")
