// What Node's http, http2 and fetch see: `node client.js SCENARIO HOST:PORT`
'use strict';
const http = require('http');
const http2 = require('http2');
const net = require('net');

const [, , scenario, address] = process.argv;
const [host, port] = address.split(':');
const base = `http://${address}`;
const say = (...words) => console.log(...words);

function request(options, body) {
  return new Promise((resolve) => {
    const sent = http.request({ host, port, ...options });
    sent.on('information', (info) => say('information', info.statusCode, info.headers.link ?? ''));
    sent.on('continue', () => say('continue'));
    sent.on('response', (response) => {
      let length = 0;
      let text = '';
      response.on('data', (part) => {
        length += part.length;
        if (text.length < 1000) text += part;
      });
      const tell = (how) => {
        const fields = { ...response.headers };
        for (const name of ['connection', 'keep-alive', 'date']) delete fields[name];
        say(how, response.statusCode, response.statusMessage, JSON.stringify(fields), length, length < 1000 ? text : '', JSON.stringify(response.trailers));
        resolve();
      };
      response.on('end', () => tell('end'));
      response.on('error', (error) => tell(error.code));
    });
    sent.on('error', (error) => {
      say('error', error.code);
      resolve();
    });
    sent.end(body);
  });
}

function streams(paths, body) {
  return new Promise((resolve) => {
    const session = http2.connect(base);
    let open = paths.length;
    const done = [];
    session.on('error', (error) => say('session', error.code));
    for (const path of paths) {
      const stream = session.request({ ':path': path, ':method': body ? 'POST' : 'GET' });
      let text = '';
      let trailers = '';
      let status;
      stream.on('response', (fields) => (status = fields[':status']));
      stream.on('trailers', (fields) => (trailers = JSON.stringify(fields)));
      stream.on('data', (part) => (text += part));
      stream.on('error', (error) => (trailers += error.code));
      stream.on('close', () => {
        done.push(`${path} ${status} ${text.length < 2000 ? text : text.length} ${trailers} ${stream.rstCode}`);
        if ((open -= 1) === 0) {
          done.sort().forEach((line) => say(line));
          session.close(resolve);
        }
      });
      stream.end(body);
    }
  });
}

const scenarios = {
  async fetch() {
    const got = await fetch(`${base}/echo?x=1`, { headers: { 'X-One': 'two' } });
    say(got.status, await got.text(), JSON.stringify(got.headers.getSetCookie()));
  },
  async fetchPost() {
    const got = await fetch(`${base}/echo`, { method: 'POST', body: JSON.stringify({ a: 1 }), headers: { 'content-type': 'application/json' } });
    say(got.status, await got.text());
  },
  async fetchRedirect() {
    const got = await fetch(`${base}/redirect`);
    say(got.status, got.redirected, await got.text());
  },
  async keepAlive() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let at = 0; at < 5; at += 1) await request({ path: `/echo?${at}`, agent });
    agent.destroy();
  },
  async parallel() {
    const all = Array.from({ length: 40 }, (_, at) => fetch(`${base}/echo?${at}`).then((got) => got.json()));
    (await Promise.all(all)).map((told) => told.url).sort().forEach((url) => say(url));
  },
  hints: () => request({ path: '/hints' }),
  trailers: () => request({ path: '/trailers' }),
  teTrailers: () => request({ path: '/trailers', headers: { te: 'trailers', connection: 'te' } }),
  large: () => request({ path: '/large' }),
  nothing: () => request({ path: '/nothing' }),
  unavailable: () => request({ path: '/unavailable' }),
  break: () => request({ path: '/break' }),
  expect: () => request({ path: '/echo', method: 'PUT', headers: { expect: '100-continue', 'content-length': 5 } }, 'hello'),
  upload: () => request({ path: '/echo', method: 'PUT', headers: { 'transfer-encoding': 'chunked' } }, Buffer.alloc(1_000_000, 'y')),
  early: () => request({ path: '/early', method: 'POST', headers: { 'content-length': 5 } }, 'hello'),
  async events() {
    const got = await fetch(`${base}/events`);
    let text = '';
    let parts = 0;
    for await (const part of got.body) {
      text += Buffer.from(part).toString();
      parts++;
    }
    // A busy machine may join two of them, and nothing may hold back all.
    say(parts > 1);
    for (const event of text.trim().split('\n\n')) say(event.split('\n').join(' '));
  },
  async abort() {
    const stop = new AbortController();
    const got = await fetch(`${base}/events`, { signal: stop.signal });
    for await (const part of got.body) {
      say(part.length > 0);
      break;
    }
    stop.abort();
  },
  h2: () => streams(['/echo?1']),
  h2many: () => streams(Array.from({ length: 120 }, (_, at) => `/echo?${at}`)),
  h2post: () => streams(['/echo'], Buffer.alloc(300_000, 'z')),
  h2trailers: () => streams(['/trailers']),
  h2large: () => streams(['/large']),
  h2break: () => streams(['/break']),
  h2reset: () => streams(['/reset?2', '/reset?8', '/reset?11']),
  // Resets a stream in its answer, and asks the server with which code.
  h2leave: () =>
    new Promise((resolve) => {
      const session = http2.connect(base);
      const stream = session.request({ ':path': '/hang' });
      stream.on('error', (error) => say(error.code));
      stream.on('data', () => stream.close(2));
      stream.on('close', () => {
        const asked = session.request({ ':path': '/left' });
        asked.on('data', (part) => say(part.toString()));
        asked.on('close', () => session.close(resolve));
      });
    }),
  async idle() {
    const socket = net.connect(Number(port), host);
    await new Promise((resolve) => socket.on('connect', resolve));
    socket.on('close', () => say('closed'));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    say('open', !socket.destroyed);
    socket.write(`GET /echo HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
    socket.on('data', (part) => say(part.toString().split('\r\n')[0]));
  },
};

scenarios[scenario]().catch((error) => say('failed', error.cause?.code ?? error.message));
