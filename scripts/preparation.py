"""What a script does first: it says what is missing, and ends what it started when it is told to end."""
import importlib.util
import shutil
import signal
import sys

WHERE = {
    "cargo": "Rust, https://rustup.rs",
    "go": "Go 1.23 or newer, https://go.dev/dl",
    "node": "Node 20 or newer, https://nodejs.org",
    "npm": "comes with Node, https://nodejs.org",
    "openssl": "Debian's openssl",
    "pip": "Debian's python3-pip",
    "taskset": "Debian's util-linux",
}


def need(*programs):
    """Ends the script in one line if one of them is not there."""
    if missing := [program for program in programs if not is_there(program)]:
        sys.exit("to be installed first: " + "; ".join(f"{program} ({WHERE[program]})" for program in missing))


def is_there(program):
    return importlib.util.find_spec("pip") if program == "pip" else shutil.which(program)


def end_on_sigterm():
    """Without it the process would be gone at once, and what it started would stay."""
    signal.signal(signal.SIGTERM, end)


def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break off the ending
    sys.exit(128 + signal.SIGTERM)
