// One Chromium, Debian's. The same suite runs against two worlds (support/world.mjs), `demo` and `https`, as a person meets
// them; `http` has a tap on the wire for what has to be seen or held there, `frontchannel` its own kind of logout. `scripts/test` runs it.
import { defineConfig } from '@playwright/test';

// Nothing may leave the machine; *.localhost is loopback by definition and another site than localhost.
const offline = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost';

const wire = ['wire.spec.mjs', 'streams.spec.mjs'];
const frames = ['frontchannel.spec.mjs'];
// Over HTTP/2, which browsers speak with TLS only.
const sockets = ['websocket.spec.mjs'];

export default defineConfig({
  testDir: '.',
  outputDir: '../../build/e2e',
  forbidOnly: true,
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: 'list',
  use: {
    browserName: 'chromium',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', offline] },
    trace: 'retain-on-failure',
  },
  projects: [
    { name: 'demo', use: { worldName: 'demo' }, testIgnore: [...wire, ...frames, ...sockets] },
    { name: 'frontchannel', use: { worldName: 'frontchannel' }, testMatch: frames },
    { name: 'https', use: { worldName: 'https' }, testIgnore: [...wire, ...frames, 'look.spec.mjs', 'stepup.spec.mjs'] },
    { name: 'http', use: { worldName: 'http' }, testMatch: wire },
  ],
});
