// Everything a browser needs around it: the built program, a provider on another site, an API, the single-page app.
//
//   demo          `cloakroom demo`, as the README says it
//   frontchannel  the same with a provider that tells of logouts in the browser
//   https         `cloakroom serve` from a file, with TLS and SQLite; the provider is npm oidc-provider
//   http          the same without TLS, with a tap on the wire
//
// The program is at localhost, the provider at 127.0.0.1: two sites.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from './certificate.mjs';
import { eventually, freePort, Process } from './process.mjs';
import { Tap } from './tap.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));

// What was started is stopped, in reverse order, also if the rest does not start.
export async function startWorld(name) {
  const started = [];
  const stop = async () => {
    for (const end of started.splice(0).reverse()) await end();
  };
  const start = (command, args, options) => {
    const process = new Process(command, args, options);
    started.push(() => process.stop());
    return process;
  };
  try {
    const isDemo = ['demo', 'frontchannel'].includes(name);
    const world = isDemo ? await startDemo(name, start) : await startServe(name, start, started);
    return { ...world, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startDemo(name, start) {
  const flags = name === 'frontchannel' ? ['--frontchannel-logout'] : [];
  const process = start(program(), ['demo', '--port', '0', '--provider-port', '0', '--api-port', '0', ...flags], { cwd: root, env: bareEnvironment() });
  const url = await process.says((line) => line.match(/http:\/\/localhost:\d+/)?.[0]);
  return {
    name,
    url,
    providerHost: '127.0.0.1',
    sessionCookie: `cloakroom-${new URL(url).port}`,
    issued: () => [],
    async signIn(page, user) {
      await page.getByLabel('User name').fill(user);
      await page.getByLabel('Password').fill(user);
      await page.getByRole('button', { name: 'Log in' }).click();
    },
  };
}

async function startServe(name, start, started) {
  const folder = mkdtempSync(join(tmpdir(), 'cloakroom-e2e-'));
  started.push(() => rmSync(folder, { recursive: true }));
  const tls = name === 'https' && makeCertificate(folder);
  const [urlPort, admin] = [await freePort(), await freePort()];
  const listen = tls ? urlPort : await freePort();
  const url = `${name}://localhost:${urlPort}`;
  const provider = start('node', ['provider.mjs'], {
    cwd: join(root, 'tests/real'),
    env: { ...bareEnvironment(), CLIENT_URL: url, CLIENT_ID: 'cloakroom', CLIENT_SECRET: 'a secret of the client', CONSENT: 'given' },
  });
  const events = () => provider.lines.filter((line) => line.startsWith('{"event"')).map((line) => JSON.parse(line));
  const issuer = await provider.says((line) => line.startsWith('{"event":"ready"') && JSON.parse(line).issuer);
  const api = await startApi();
  started.push(() => api.close());
  const config = configuration({ listen, admin, url, issuer, api: api.address().port, tls });
  writeFileSync(join(folder, 'cloakroom.toml'), config);
  let process;
  const serve = async () => {
    process = start(program(), ['serve'], { cwd: folder, env: bareEnvironment() });
    await eventually('the program is ready', () => {
      if (process.failure || process.child.exitCode !== null) throw new Error(`it does not start:\n${process.lines.join('\n')}`);
      return fetch(`http://127.0.0.1:${admin}/readyz`).then((answer) => answer.ok, () => false);
    });
  };
  await serve();
  const tap = tls ? undefined : await Tap.start(urlPort, listen);
  if (tap) started.push(() => tap.stop());
  return {
    name,
    url,
    tap,
    certificate: tls ? tls.cert : undefined,
    providerHost: '127.0.0.1',
    sessionCookie: tls ? '__Host-Http-cloakroom' : `cloakroom-${urlPort}`,
    // Every token the provider has given to the program.
    issued: () => events().filter(({ event }) => event === 'grant').flatMap(({ issued }) => Object.values(issued)),
    // What the program has said since it was started last.
    log: () => process.lines,
    // Ends the program and starts another one over the same store.
    async restart() {
      await process.stop();
      await serve();
    },
    rows: () => countRows(join(folder, 'sessions.db')),
    async signIn(page, user) {
      await page.getByPlaceholder('Enter any login').fill(user);
      await page.getByPlaceholder('and password').fill(user);
      await page.getByRole('button', { name: 'Sign-in' }).click();
    },
  };
}

function configuration({ listen, admin, url, issuer, api, tls }) {
  const key = execFileSync(program(), ['keygen'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  return `
[server]
listen = "127.0.0.1:${listen}"
admin_listen = "127.0.0.1:${admin}"
${tls ? `tls = { cert = "${tls.cert}", key = "${tls.key}" }` : ''}
[keys]
master = ["${key}"]
[store]
url = "sqlite:sessions.db"
[providers.npm]
issuer = "${issuer}"
[frontends.shop]
url = "${url}/"
provider = "npm"
client_id = "cloakroom"
client_auth = { method = "client_secret_basic", secret = "a secret of the client" }
scopes = ["openid", "profile", "email", "offline_access"]
assets = { dir = "${join(root, 'static/demo')}" }
[[frontends.shop.routes]]
path = "/api"
upstream = "http://127.0.0.1:${api}"
`;
}

// Says how it was called, but for the token: that it must not hand back. Browsers may keep what it says of /kept.
async function startApi() {
  const server = createServer((request, answer) => {
    const { authorization = '', cookie = null } = request.headers;
    const caching = request.url === '/kept' ? { 'cache-control': 'private, max-age=600' } : {};
    answer.writeHead(200, { 'content-type': 'application/json', ...caching });
    answer.end(JSON.stringify({ method: request.method, path: request.url, scheme: authorization.split(' ')[0], cookie }));
  });
  server.on('upgrade', agree);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

// A WebSocket that says "hello" and then sends every frame back as it would be without its mask (RFC 6455 §5.2); short ones only.
function agree(request, socket) {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.write(Buffer.from('\x81\x05hello', 'latin1'));
  socket.on('data', (frame) => {
    const mask = frame.subarray(2, 6);
    const payload = frame.subarray(6).map((byte, at) => byte ^ mask[at % 4]);
    socket.write(Buffer.concat([Buffer.from([frame[0], payload.length]), payload]));
  });
  socket.on('error', () => {});
}

// Live sessions, from the file itself. Python is there wherever Node can be built, and its sqlite3 needs no package.
function countRows(file) {
  const script = 'import sqlite3,sys; print(sqlite3.connect(f"file:{sys.argv[1]}?mode=ro",uri=True).execute(sys.argv[2]).fetchone()[0])';
  return Number(execFileSync('python3', ['-c', script, file, 'select count(*) from sessions where retired = 0']));
}

function program() {
  const path = process.env.CLOAKROOM_BIN ?? join(root, 'target/debug/cloakroom');
  if (!existsSync(path)) throw new Error(`${path} is not built; run scripts/test --only e2e`);
  return path;
}

// Without a developer's own CLOAKROOM_* settings.
function bareEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CLOAKROOM')));
}
