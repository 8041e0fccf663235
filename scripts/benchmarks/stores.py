"""What one operation of a session store costs, and what it costs when the store is full."""
from .machine import Foreign, Rounds, cpu_seconds, row, table
from .servers import STORES, install


def store(bench):
    """Reading one row: by one task, and by 64."""
    install(bench.kinds)
    opened = [bench.stores.filled(kind, bench.sizes.read) for kind in bench.kinds]
    rounds, foreign = Rounds(), Foreign(bench.started, bench.max_foreign)
    for place, told, _ in rounds.turns(bench.rounds, opened):
        for tasks in (1, 64):
            rounds.add((place.kind, tasks), foreign.undisturbed(lambda: read(place, told, tasks, bench.seconds)))
    print(f"\n## One read of the store\n\n`load` of a random row of {bench.sizes.read}, about 3 KB each; {bench.rounds} rounds of "
          f"{bench.seconds} s, medians; our process has one core, the server the other; {foreign}.\n")
    table("store", "tasks", "p50 µs", "p99 µs", "reads/s", "our CPU µs/read", "server's CPU µs/read")
    for place, _, _ in opened:
        for tasks in (1, 64):
            what = place.kind, tasks
            theirs = f"{rounds.median(what, 'theirs'):.1f}" if place.server else "–"
            name = f"{place.name} *" if rounds.any(what, "disturbed") else place.name
            row(name, tasks, f"{rounds.median(what, 'p50'):.1f}", f"{rounds.median(what, 'p99'):.1f}",
                f"{rounds.median(what, 'rate'):.0f}", f"{rounds.median(what, 'ours'):.1f}", theirs)


def read(place, told, tasks, seconds):
    ours, theirs = cpu_seconds(told.process.pid), place.cpu_seconds()
    sample = told.tell("load", tasks, seconds)
    cpu = {"ours": cpu_seconds(told.process.pid) - ours, "theirs": place.cpu_seconds() - theirs}
    return sample | {who: used / sample["count"] * 1e6 for who, used in cpu.items()}


VERBS = {"load": "load", "touch": "touch", "insert": "insert", "end": "end one", "call": "API call"}


def crowd(bench):
    """The same operations among one, many and very many sessions; and the sweep."""
    install(bench.kinds)
    rounds, foreign, filled = Rounds(), Foreign(bench.started), {}
    for kind in bench.kinds:
        with bench.alone() as alone:
            crowd_of(alone, kind, rounds, foreign, filled)
    sizes = bench.sizes.crowd
    print(f"\n## Many sessions\n\nOne operation at a time; {bench.rounds} rounds of {bench.seconds} s (insert, end: {bench.sizes.passing} rows), "
          f"medians, µs as p50 / p99; rows of about 3 KB, chosen at random; “end one” is `end_matching` by a term with one row; the API "
          f"call goes through Cloakroom, provider and API in the same process; {foreign}.\n")
    table("store", "sessions", *VERBS.values(), "filled in s")
    for kind in bench.kinds:
        for size in sizes:
            cells = [f"{rounds.median((kind, size, verb), 'p50'):.0f} / {rounds.median((kind, size, verb), 'p99'):.0f}" for verb in VERBS]
            row(STORES[kind], size, *cells, f"{filled[kind, size]:.0f}")
    print(f"\n`remove_expired` with {bench.sizes.expired} expired rows beside {bench.sizes.crowd[1]} live ones, and what 4 tasks saw that "
          f"read live rows meanwhile; “quiet” is 2 s before. Redis lets rows expire by itself, at that moment.\n")
    table("store", "removed", "took s", "quiet: load p99 µs", "longest load ms", "meanwhile: load p99 µs", "longest load ms")
    for kind in bench.kinds:
        what = kind, "sweep"
        row(STORES[kind], f"{rounds.median(what, 'removed'):.0f}", f"{rounds.median(what, 'seconds'):.2f}",
            *(f"{rounds.median(what, when, key) / unit:.1f}" for when in ("quiet", "meanwhile") for key, unit in (("p99", 1), ("max", 1000))))


def crowd_of(bench, kind, rounds, foreign, filled):
    opened = []
    for nth, size in enumerate(bench.sizes.crowd):
        expired = bench.sizes.expired if nth == 1 else 0
        _, told, said = bench.stores.filled(kind, size, expired)
        filled[kind, size] = said["seconds"]
        if expired:
            rounds.add((kind, "sweep"), told.tell("sweep"))
        opened.append((size, told))
    for size, told in rounds.turns(bench.rounds, opened):
        with foreign:
            rounds.add((kind, size, "load"), told.tell("load", 1, bench.seconds))
            rounds.add((kind, size, "touch"), told.tell("touch", 1, bench.seconds))
            passed = told.tell("pass", bench.sizes.passing)
            rounds.add((kind, size, "call"), told.tell("call", bench.seconds))
        for verb in ("insert", "end"):
            rounds.add((kind, size, verb), passed[verb])
