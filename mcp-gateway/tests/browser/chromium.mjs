// A Chromium without a window, spoken to over a pipe by the DevTools protocol; nothing is installed for it.
import { spawn } from 'node:child_process';

const FLAGS = [
  '--headless',
  '--remote-debugging-pipe',
  // Everything it might want from the network or from this machine's user, that is not the page.
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-extensions',
  '--disable-sync',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--hide-scrollbars',
];

export class Chromium {
  constructor(program, profile) {
    // Root may not use the sandbox; what is opened here is our own page.
    const flags = process.getuid() === 0 ? [...FLAGS, '--no-sandbox'] : FLAGS;
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
    this.child = spawn(program, [...flags, `--user-data-dir=${profile}`], { stdio });
    this.ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.answers = new Map();
    this.listeners = new Set();
    this.last = 0;
    let rest = '';
    this.child.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      for (const message of messages) this.#hear(JSON.parse(message));
    });
    this.ended.then(() => {
      for (const { reject } of this.answers.values()) reject(new Error('chromium ended'));
    });
  }

  #hear(message) {
    const waiting = this.answers.get(message.id);
    if (!waiting) {
      for (const listener of this.listeners) listener(message);
      return;
    }
    this.answers.delete(message.id);
    if (message.error) waiting.reject(new Error(`${waiting.method}: ${message.error.message}`));
    else waiting.resolve(message.result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.last;
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.answers.set(id, { method, resolve, reject }));
  }

  // Opens a tab; `hear` is told its events.
  async tab(hear) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const listener = (message) => message.sessionId === sessionId && hear(message.method, message.params);
    this.listeners.add(listener);
    return {
      send: (method, params) => this.send(method, params, sessionId),
      close: async () => {
        this.listeners.delete(listener);
        await this.send('Target.closeTarget', { targetId });
      },
    };
  }

  async end() {
    this.child.kill();
    await this.ended;
  }
}
