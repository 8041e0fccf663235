// A tap on the wire between browser and program: every request is written down, and chosen ones are held back.
import { createServer, request as send } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

export class Tap {
  seen = [];
  #holds = [];
  #delay = () => 0;

  // Listens on `port` and passes everything to `target`, both on 127.0.0.1.
  static async start(port, target) {
    const tap = new Tap();
    tap.server = createServer((incoming, answer) => tap.#pass(incoming, answer, target));
    tap.server.listen(port, '127.0.0.1');
    await once(tap.server, 'listening');
    return tap;
  }

  // Holds the next request for which `chosen` is true, as it was sent, until `release` is called.
  hold(chosen) {
    const hold = { chosen };
    hold.arrived = new Promise((resolve) => { hold.arrive = resolve; });
    hold.released = new Promise((resolve) => { hold.release = resolve; });
    this.#holds.push(hold);
    return hold;
  }

  // Makes the line slow: `milliseconds(request)` each way, until called again.
  slow(milliseconds) {
    this.#delay = milliseconds;
  }

  async #pass(incoming, answer, target) {
    this.seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers });
    const index = this.#holds.findIndex((hold) => hold.chosen(incoming));
    if (index >= 0) {
      const [hold] = this.#holds.splice(index, 1);
      hold.arrive();
      await hold.released;
    }
    const delay = this.#delay(incoming);
    await sleep(delay);
    const { method, url: path, rawHeaders: headers } = incoming;
    const onward = send({ host: '127.0.0.1', port: target, method, path, headers, setHost: false }, async (back) => {
      await sleep(delay);
      answer.writeHead(back.statusCode, back.rawHeaders);
      back.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    incoming.pipe(onward);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
