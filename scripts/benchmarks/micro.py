"""What single steps of a call cost; see benches/micro."""
import subprocess

from .machine import MEASURED, build_one


def measure(bench):
    program = build_one(*([] if bench.trial else ["--release"]), "--bench", "micro")
    command = ["taskset", "--cpu-list", str(MEASURED), program, "--test" if bench.trial else "--bench"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(f"\n## Steps of a call\n\n```text\n{said.strip()}\n```")
