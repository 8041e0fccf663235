// A child process whose lines are kept, and which is gone when stopped.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

export class Process {
  lines = [];

  constructor(command, args, { cwd, env }) {
    this.name = [command, ...args].join(' ');
    this.child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.on('error', (error) => { this.failure = error; });
    for (const pipe of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: pipe }).on('line', (line) => this.lines.push(line));
    }
  }

  // Waits until a line fits and says what `wanted` made of it.
  async says(wanted) {
    return eventually(`${this.name} says what is waited for`, () => {
      for (const line of this.lines) {
        const found = wanted(line);
        if (found) return found;
      }
      if (this.failure || this.child.exitCode !== null) {
        throw new Error(`${this.name} ended early: ${this.failure ?? this.child.exitCode}\n${this.lines.join('\n')}`);
      }
      return undefined;
    });
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null || this.failure) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const impatience = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(impatience);
  }
}

// Asks until the answer is neither undefined nor false.
export async function eventually(what, ask, limit = 30_000) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await ask();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
