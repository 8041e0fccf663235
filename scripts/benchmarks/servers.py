"""Stores with their servers, and the program over them."""
import os
import pathlib
import pwd
import re
import shutil
import subprocess

from .machine import MEASURED, OTHERS, QUIET, ROOT, Told, cpu_seconds, free_port, wait_for, wait_for_port, wait_until

STORES = {"memory": "memory", "sqlite": "SQLite", "redis": "Redis", "postgres": "PostgreSQL"}
PACKAGES = {"redis": ["redis-server"], "postgres": ["postgresql"]}


class Store:
    """A place for rows. `server` is the process behind it, if there is one."""

    def __init__(self, kind, url, server=None):
        self.kind, self.name, self.url, self.server = kind, STORES[kind], url, server

    def cpu_seconds(self):
        return cpu_seconds(self.server.pid) if self.server else 0


class Stores:
    """Opens new, empty stores of any kind."""

    def __init__(self, started, folder, measure):
        self.started, self.folder, self.measure = started, pathlib.Path(folder), measure
        self.folder.chmod(0o711)  # PostgreSQL runs as another user
        self.made, self.postgres = 0, None

    def new(self, kind):
        self.made += 1
        return getattr(self, f"_{kind}")(f"store{self.made}")

    def filled(self, kind, rows, expired=0):
        """A store with rows in it, the process that measures it, and what filling said."""
        store = self.new(kind)
        if kind == "sqlite":
            filled = self._fill_in_memory(store, rows, expired)
            told = Told(self.started, MEASURED, self.measure, "store", store.url)
            told.tell("fill", rows)  # which are there
            return store, told, filled
        told = Told(self.started, MEASURED, self.measure, "store", store.url)
        filled = told.tell("fill", rows)
        if expired:
            # Some stores let go of expired rows by themselves: none may have run out before all are written.
            told.tell("expire", expired, 5 + 2 * filled["seconds"] * expired / rows)
        return store, told, filled

    def _fill_in_memory(self, store, rows, expired):
        """Each commit waits for the disk, and a million commits for an hour: so the file is made in memory, then moved."""
        path = pathlib.Path(store.url.removeprefix("sqlite:"))
        elsewhere = pathlib.Path("/dev/shm", f"{self.folder.name}-{path.name}")
        elsewhere.mkdir()
        try:
            told = Told(self.started, MEASURED, self.measure, "store", f"sqlite:{elsewhere / path.name}")
            filled = told.tell("fill", rows)
            if expired:
                told.tell("expire", expired, 0)
            told.end()
            for file in elsewhere.iterdir():
                shutil.move(file, path.parent)
            os.sync()
        finally:
            shutil.rmtree(elsewhere)
        return filled

    def _memory(self, _name):
        return Store("memory", "memory:")

    def _sqlite(self, name):
        return Store("sqlite", f"sqlite:{self.folder / name}.db")

    def _redis(self, name):
        """The append-only file is synced every second; it is not rewritten while something is measured."""
        port, folder = free_port(), self.folder / name
        folder.mkdir()
        server = self.started.run(
            OTHERS, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", "", "--appendonly", "yes",
            "--auto-aof-rewrite-percentage", "0", **QUIET)
        wait_for_port(port)
        return Store("redis", f"redis://127.0.0.1:{port}", server)

    def _postgres(self, name):
        if not self.postgres:
            self.postgres = Postgres(self.started, self.folder / "postgres")
        return Store("postgres", self.postgres.database(name), self.postgres.server)


class Postgres:
    """A server with 1 GiB of shared buffers; the rest is as Debian ships it: every commit is on the disk."""

    def __init__(self, started, folder):
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self.port = free_port()
        folder.mkdir()
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        initdb = ["initdb", "--pgdata", folder, "--username", "bench", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
        subprocess.run(self._as_owner(*initdb), cwd=folder, check=True, **QUIET)
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "1GB",
                    "max_wal_size": "8GB"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.server = started.run(OTHERS, *self._as_owner("postgres", "-D", folder, *options), cwd=folder, **QUIET)
        self._client = ["--host", "127.0.0.1", "--port", str(self.port), "--username", "bench"]
        ready = [self.bin / "pg_isready", *self._client]
        wait_until(lambda: subprocess.run(ready, **QUIET).returncode == 0, "PostgreSQL")

    def database(self, name):
        subprocess.run([self.bin / "createdb", *self._client, name], check=True)
        return f"postgres://bench@127.0.0.1:{self.port}/{name}"

    def _as_owner(self, command, *arguments):
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return [*drop, self.bin / command, *arguments]


class Cloakroom:
    """The program over a store, on a core of its own. The provider and the API may start after it."""

    def __init__(self, program, scheme="http"):
        self.program, self.port = program, free_port()
        self.url = f"{scheme}://localhost:{self.port}"

    def start(self, started, folder, store, issuer, api, **more):
        admin = free_port()
        key = subprocess.run([self.program, "keygen"], check=True, capture_output=True, text=True).stdout.strip()
        self.process = started.run(MEASURED, self.program, "serve", cwd=folder, **QUIET, env={
            "PATH": os.environ["PATH"],
            "CLOAKROOM_URL": self.url,
            "CLOAKROOM_LISTEN": f"127.0.0.1:{self.port}",
            "CLOAKROOM_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "CLOAKROOM_ISSUER": issuer,
            "CLOAKROOM_CLIENT_ID": "bench",
            "CLOAKROOM_CLIENT_SECRET": "a secret of the benchmark",
            "CLOAKROOM_ROUTES": f"/api={api}",
            "CLOAKROOM_STORE": store.url,
            "CLOAKROOM_KEY": key,
            "CLOAKROOM__SERVER__LOGIN_RATE": "off",
            "CLOAKROOM_LOG_LEVEL": "warn",
            **more,
        })
        wait_for(f"http://127.0.0.1:{admin}/readyz")
        return self


def install(stores, *packages):
    packages = [*packages, *(package for store in stores for package in PACKAGES.get(store, []))]
    if packages:
        subprocess.run([ROOT / "scripts/install-packages", *packages], check=True)


def versions():
    """Of the servers that are installed, and of what builds one."""
    commands = [("nginx", "-v"), ("apache2", "-v"), ("redis-server", "--version"), ("psql", "--version"), ("wrk", "-v"), ("go", "version")]
    said = [subprocess.run(command, capture_output=True, text=True) for command in commands if shutil.which(command[0])]
    names = {"nginx": "nginx", "Apache": "Apache", "Redis": "Redis", "psql": "PostgreSQL", "wrk": "wrk", "go version": "Go"}
    return [f"{next((name for key, name in names.items() if key in text), text)} {re.search(r'[0-9]+[.][0-9.]*[0-9]', text)[0]}"
            for text in (one.stdout + one.stderr for one in said)]
