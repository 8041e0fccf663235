"""Processes on cores of their own, what they use, and what the machine is."""
import json
import os
import pathlib
import platform
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
MEASURED, OTHERS = 0, 1  # cores: what is measured has one for itself
ATTEMPTS = 5  # at an undisturbed sample


class Started:
    """Processes that end, in reverse order, when the block does."""

    def __enter__(self):
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()

    def run(self, core, *command, **options):
        process = subprocess.Popen(["taskset", "--cpu-list", str(core), *map(str, command)], **options)
        self.processes.append(process)
        return process

    def cpu_seconds(self):
        """Of everything here and, as children that ended, everything that was here."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(cpu_seconds(process.pid) for process in self.processes) + ended.ru_utime + ended.ru_stime


class Told:
    """`measure …`, which answers commands; see benches/measure."""

    def __init__(self, started, core, program, *arguments):
        self.process = started.run(core, program, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return self._answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a measurement failed, see above")
        return json.loads(line)


class Foreign:
    """How much of the machine others used while the block ran, as a fraction of all cores; above `most` a sample is taken again."""

    def __init__(self, started, most=1.0):
        self.started, self.most, self.samples = started, most, []
        self.repeated = self.disturbed = 0

    def __enter__(self):
        self.before = machine_seconds(), self.started.cpu_seconds(), time.monotonic()

    def __exit__(self, *_):
        machine, ours, clock = self.before
        others = machine_seconds() - machine - (self.started.cpu_seconds() - ours)
        self.samples.append(max(0, others) / ((time.monotonic() - clock) * os.cpu_count()))

    def undisturbed(self, take):
        """A sample, and whether it was disturbed all the same: nobody waits for a quiet machine forever."""
        for attempt in range(ATTEMPTS):
            with self:
                sample = take()
            if self.samples[-1] <= self.most:
                return {**sample, "disturbed": False}
            if attempt + 1 < ATTEMPTS:
                self.samples.pop()
                self.repeated += 1
        self.disturbed += 1
        return {**sample, "disturbed": True}

    def __str__(self):
        busy = f"the machine was {statistics.median(self.samples):.0%} busy with other things"
        if self.repeated:
            busy += f"; {self.repeated} samples were taken again, because it was more than {self.most * 100:g}%"
        if self.disturbed:
            busy += f"; {self.disturbed} samples remained above that after {ATTEMPTS} attempts, in the rows with an asterisk"
        return busy


class Rounds:
    """Samples by what was measured; the figures are medians."""

    def __init__(self):
        self.samples = {}

    def add(self, what, sample):
        self.samples.setdefault(what, []).append(sample)

    def median(self, what, *path):
        return statistics.median(reach(sample, path) for sample in self.samples[what])

    def most(self, what, *path):
        return max(reach(sample, path) for sample in self.samples[what])

    def any(self, what, *path):
        return any(reach(sample, path) for sample in self.samples[what])

    @staticmethod
    def turns(rounds, variants):
        """All variants in every round, forwards and backwards, because machines are not equally fast all the time."""
        for number in range(rounds):
            yield from variants if number % 2 == 0 else reversed(variants)
            print(f"  round {number + 1} of {rounds}", file=sys.stderr)


def reach(sample, path):
    for key in path:
        sample = sample[key]
    return sample


def table(*columns):
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def row(*cells):
    print(f"| {' | '.join(map(str, cells))} |")


def describe():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
            f"Cloakroom {commit}, {time.strftime('%Y-%m-%d')}")


def build(trial):
    """The program, as people build it, and what measures it."""
    profile = [] if trial else ["--release"]
    # In this order: the development dependencies of the first add features to the program, too.
    measure = build_one(*profile, "--bench", "measure")
    return build_one(*profile, "--bin", "cloakroom"), measure


def build_one(*which):
    out = subprocess.run(["cargo", "build", "--locked", "--message-format", "json-render-diagnostics", *which],
                         cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = map(json.loads, out.splitlines())
    return next(message["executable"] for message in messages
                if message.get("executable") and message["target"]["name"] == which[-1])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url):
    def answers():
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            return False
        return True
    wait_until(answers, url)


def wait_for_port(port):
    def answers():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0
    wait_until(answers, f"port {port}")


def wait_until(answers, what):
    end = time.monotonic() + 30
    while not answers():
        if time.monotonic() > end:
            sys.exit(f"{what} does not answer")
        time.sleep(0.02)


def cpu_seconds(pid):
    """Of a process, its children, and those that ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended meanwhile
    return sum(map(int, fields[11:15])) / TICKS + sum(map(cpu_seconds, children(pid)))


def children(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def machine_seconds():
    """Of all cores, without idling and waiting."""
    user, nice, system, _idle, _wait, interrupts, soft = map(int, pathlib.Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + interrupts + soft) / TICKS


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s*([0-9]+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def memory_bytes(pid):
    """Resident memory of a process and its children, of which what they share counts once. Not the proportional set size: of a program
    that runs for several variants, each would have a part only."""
    shared, private = zip(*map(resident, family(pid)))
    return max(shared) + sum(private)


def family(pid):
    yield pid
    for child in children(pid):
        yield from family(child)


def resident(pid):
    """Bytes shared with other processes, and not."""
    try:
        memory = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return tuple(sum(map(int, re.findall(rf"^{kind}_(?:Clean|Dirty):\s*([0-9]+) kB", memory, re.MULTILINE))) * 1024
                 for kind in ("Shared", "Private"))
