// A tap on the wire between browser and program: every request is written down, and chosen ones are held back.
import { createServer, request as send } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

export class Tap {
  seen = [];
  // Requests whose answers have not ended.
  open = [];
  #holds = [];
  #refusals = [];
  #words = [];
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
    return this.#hold({ chosen });
  }

  // The same with its answer, which the program has given by then.
  holdAnswer(chosen) {
    return this.#hold({ chosen, isAnswer: true });
  }

  #hold(hold) {
    hold.arrived = new Promise((resolve) => { hold.arrive = resolve; });
    hold.released = new Promise((resolve) => { hold.release = resolve; });
    this.#holds.push(hold);
    return hold;
  }

  // Answers requests for which `chosen` is true with a bare status, until what it returns is called.
  refuse(chosen, status) {
    const refusal = { chosen, status };
    this.#refusals.push(refusal);
    return () => { this.#refusals = this.#refusals.filter((other) => other !== refusal); };
  }

  // Breaks off answers that are under way.
  cut(chosen) {
    for (const { answer } of this.open.filter(chosen)) answer.destroy();
  }

  // Puts words at the end of the first piece of the next answer.
  tell(chosen, words) {
    this.#words.push({ chosen, words });
  }

  // Makes the line slow: `milliseconds(request)` each way, until called again.
  slow(milliseconds) {
    this.#delay = milliseconds;
  }

  async #pass(incoming, answer, target) {
    this.seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers });
    const entry = { url: incoming.url, answer };
    this.open.push(entry);
    answer.on('close', () => { this.open = this.open.filter((other) => other !== entry); });
    const refusal = this.#refusals.find(({ chosen }) => chosen(incoming));
    if (refusal) return answer.writeHead(refusal.status).end();
    const index = this.#holds.findIndex((hold) => hold.chosen(incoming));
    const [hold] = index >= 0 ? this.#holds.splice(index, 1) : [];
    if (hold && !hold.isAnswer) await pause(hold);
    const delay = this.#delay(incoming);
    await sleep(delay);
    const { method, url: path, rawHeaders: headers } = incoming;
    const onward = send({ host: '127.0.0.1', port: target, method, path, headers, setHost: false }, async (back) => {
      if (hold?.isAnswer) await pause(hold);
      await sleep(delay);
      answer.writeHead(back.statusCode, back.rawHeaders);
      const word = this.#words.findIndex(({ chosen }) => chosen(incoming));
      if (word >= 0) {
        const [{ words }] = this.#words.splice(word, 1);
        back.once('data', () => answer.write(words));
      }
      back.on('error', () => answer.destroy());
      back.pipe(answer);
    });
    answer.on('close', () => onward.destroy());
    onward.on('error', () => answer.destroy());
    incoming.pipe(onward);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function pause({ arrive, released }) {
  arrive();
  return released;
}
