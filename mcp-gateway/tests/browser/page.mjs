// Fills a store, serves it over HTTP, and looks at the status page as its owner does.
//   page.mjs GATEWAY CARRACK CHROMIUM WORK SHOTS
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Chromium } from './chromium.mjs';

const [gateway, carrack, chromium, work, shots] = process.argv.slice(2);
const data = join(work, 'data');
const sample = join(import.meta.dirname, '../../sample');
const ACTOR = 'did:plc:rilb2cohzwgttp7xjllpyq2i';
// Long enough for a machine that is busy; it only catches a hang.
const DEADLINE_MS = 120_000;

// Text below this size in CSS pixels, or below this contrast (WCAG AA), is not read on a phone.
const TEXT_PX_MIN = 12;
const CONTRAST_MIN = 4.5;

const VIEWS = [
  { name: 'phone', width: 390, height: 844, mobile: true, scheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, mobile: true, scheme: 'dark' },
  { name: 'desk', width: 1000, height: 800, mobile: false, scheme: 'light' },
  { name: 'desk-dark', width: 1000, height: 800, mobile: false, scheme: 'dark' },
];

function run(...args) {
  return execFileSync(carrack, ['--data', data, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

function grant(label, repos, ...args) {
  const scope = ['--repos', repos, '--collections', 'all', '--may', 'read,list', '--expires', '7d'];
  return run('grant', 'create', '--label', label, ...scope, ...args);
}

// Starts the gateway, and returns where it is, its owner's token, and how it is ended.
async function serve() {
  const child = spawn(gateway, ['--data', data, '--http', '127.0.0.1:0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  const url = await new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error(`the gateway ended: ${log}`)));
    child.stderr.setEncoding('utf8').on('data', (text) => {
      log += text;
      const found = log.match(/^listening on (\S+)\/mcp$/m);
      if (found) resolve(found[1]);
    });
  });
  const token = log.match(/^the owner's token for this run: (\S+)$/m)[1];
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return { url, token, end: async () => { child.kill(); await ended; } };
}

async function call(url, token, name, args) {
  const response = await fetch(`${url}/mcp`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': name,
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: {
        name,
        arguments: args,
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
}

// Runs in the page: what a person would see of it, and what the browser fetched for it.
function look() {
  const rgb = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const over = (top, alpha, below) => top.slice(0, 3).map((v, i) => v * alpha + below[i] * (1 - alpha));
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  // What is painted below and on top of an element, opacities multiplied.
  const paint = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(getComputedStyle(at));
    let [background, opacity] = [isDark ? [18, 18, 18] : [255, 255, 255], 1];
    for (const style of chain) {
      opacity *= Number(style.opacity);
      const color = rgb(style.backgroundColor);
      background = over(color, (color[3] ?? 1) * opacity, background);
    }
    const color = rgb(chain.at(-1).color);
    return [over(color, (color[3] ?? 1) * opacity, background), background];
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.data.trim();
    if (!words) continue;
    const element = walker.currentNode.parentElement;
    const [ink, paper] = paint(element).map(light);
    texts.push({
      words,
      px: parseFloat(getComputedStyle(element).fontSize),
      contrast: (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05),
    });
  }
  const facts = [...document.querySelectorAll('dt')].map((dt) => [dt.textContent, dt.nextElementSibling.textContent]);
  return {
    title: document.title,
    width: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    facts: Object.fromEntries(facts),
    headings: [...document.querySelectorAll('h1, h2, h3')].map((heading) => heading.textContent),
    active: document.querySelectorAll('script, iframe, img, link, form, [onload], [onclick]').length,
    fetched: performance.getEntriesByType('resource').map((entry) => entry.name),
    texts,
  };
}

async function open(browser, url, token, view) {
  const requests = [];
  const complaints = [];
  let loaded;
  const isLoaded = new Promise((resolve) => { loaded = resolve; });
  const tab = await browser.tab((method, params) => {
    switch (method) {
      case 'Network.requestWillBeSent': requests.push(params.request.url); break;
      case 'Runtime.exceptionThrown': complaints.push(params.exceptionDetails.text); break;
      case 'Runtime.consoleAPICalled': complaints.push(JSON.stringify(params.args)); break;
      case 'Log.entryAdded': complaints.push(`${params.entry.level}: ${params.entry.text}`); break;
      case 'Fetch.requestPaused': tab.send('Fetch.continueRequest', { requestId: params.requestId }); break;
      // As a person does when the browser asks: any name, the token as the password.
      case 'Fetch.authRequired': {
        const answer = { response: 'ProvideCredentials', username: 'me', password: token };
        tab.send('Fetch.continueWithAuth', { requestId: params.requestId, authChallengeResponse: answer });
        break;
      }
      case 'Page.loadEventFired': loaded(); break;
      default:
    }
  });
  for (const domain of ['Network', 'Runtime', 'Log', 'Page']) await tab.send(`${domain}.enable`);
  await tab.send('Fetch.enable', { handleAuthRequests: true });
  const { width, height, mobile, scheme } = view;
  await tab.send('Emulation.setDeviceMetricsOverride', { width, height, mobile, deviceScaleFactor: 1 });
  await tab.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  await tab.send('Page.navigate', { url });
  await isLoaded;
  const expression = `(${look})()`;
  const { result, exceptionDetails } = await tab.send('Runtime.evaluate', { expression, returnByValue: true });
  assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
  const seen = result.value;
  const clip = { x: 0, y: 0, width, height: seen.height, scale: 1 };
  const shot = await tab.send('Page.captureScreenshot', { format: 'png', clip, captureBeyondViewport: true });
  writeFileSync(join(shots, `${view.name}.png`), Buffer.from(shot.data, 'base64'));
  await tab.close();
  return { seen, requests, complaints };
}

function judge(view, url, { seen, requests, complaints }) {
  const about = (what) => `${view.name}: ${what}`;
  assert.deepEqual(complaints, [], about('the browser complains'));
  assert.ok(requests.length > 0);
  for (const request of [...requests, ...seen.fetched]) {
    assert.equal(new URL(request).origin, url, about(`something from elsewhere: ${request}`));
  }
  assert.equal(seen.active, 0, about('something that is neither text nor style'));
  // A phone that finds something beside its screen zooms out, so its own width says nothing.
  assert.ok(seen.width <= view.width, about(`it is ${seen.width} px wide`));
  assert.ok(seen.texts.length > 30, about('hardly any text'));
  for (const { words, px, contrast } of seen.texts) {
    assert.ok(px >= TEXT_PX_MIN, about(`${px} px: ${words}`));
    assert.ok(contrast >= CONTRAST_MIN, about(`contrast ${contrast.toFixed(2)}: ${words}`));
  }
  assert.equal(seen.title, 'Carrack');
  assert.equal(seen.facts.repos, '2');
  assert.equal(seen.facts.records, '42');
  for (const fact of ['on disk', 'imported', 'revisions', 'segment files', 'agents connected']) {
    assert.match(seen.facts[fact], /^\d/, about(fact));
  }
  for (const heading of ['summariser', ACTOR, HOSTILE]) {
    assert.ok(seen.headings.includes(heading), about(`no heading ${heading} in ${seen.headings}`));
  }
  const page = seen.texts.map(({ words }) => words).join('\n');
  for (const words of ['at_overview', 'never used', 'of 40']) assert.ok(page.includes(words), about(words));
}

const HOSTILE = '<img src="https://example.org/x.png" onload="alert(1)">';

const deadline = setTimeout(() => { console.error('the page was not seen in time'); process.exit(1); }, DEADLINE_MS);
run('import', sample);
const token = grant('summariser', 'all', '--calls', '40', '--bytes', '100KiB');
grant(`a label that goes on ${'and-on-'.repeat(10)}without a space to break at`, ACTOR);
grant(HOSTILE, 'all');
const server = await serve();
let browser;
try {
  for (let i = 0; i < 3; i++) await call(server.url, token, 'at_overview', {});
  await call(server.url, token, 'at_list', { actor: ACTOR, collection: 'app.bsky.feed.post' });
  browser = new Chromium(chromium, join(work, 'profile'));
  for (const view of VIEWS) judge(view, server.url, await open(browser, server.url, server.token, view));
} finally {
  await browser?.end();
  await server.end();
}
clearTimeout(deadline);
console.log(`status page: ${VIEWS.length} views ok`);
