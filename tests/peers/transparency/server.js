// A server on Node's http and http2 that says what it was asked: `node server.js HOST PORT [h2]`
'use strict';
const http = require('http');
const http2 = require('http2');
const crypto = require('crypto');

const [, , host, port, kind] = process.argv;
let left = Promise.resolve();

function serve(request, response) {
  const parts = [];
  const url = request.url;
  if (url === '/early') {
    // Answers before the body has come, and reads on.
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.end('early');
    request.resume();
    return;
  }
  request.on('aborted', () => response.destroy());
  request.on('data', (part) => parts.push(part));
  request.on('end', () => answer(request, response, Buffer.concat(parts)));
}

function answer(request, response, body) {
  const url = request.url;
  if (url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    let count = 0;
    const timer = setInterval(() => {
      response.write(`id: ${(count += 1)}\ndata: event ${count}\n\n`);
      if (count === 3) {
        clearInterval(timer);
        response.end();
      }
    }, 50);
  } else if (url === '/hints') {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    setTimeout(() => response.end('hinted'), 50);
  } else if (url === '/trailers') {
    response.writeHead(200, kind === 'h2' ? {} : { trailer: 'x-sum' });
    response.write('with trailers');
    response.addTrailers({ 'x-sum': '13' });
    response.end();
  } else if (url === '/large') {
    response.end(Buffer.alloc(3_000_000, 'x'));
  } else if (url === '/break') {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half');
    setTimeout(() => response.destroy(), 50);
  } else if (url.startsWith('/reset?')) {
    response.writeHead(200);
    response.write('half');
    const { stream } = response;
    request.removeAllListeners('aborted');
    setTimeout(() => stream.close(Number(url.slice('/reset?'.length))), 50);
  } else if (url === '/hang') {
    left = new Promise((resolve) => response.stream.on('close', () => resolve(response.stream.rstCode)));
    response.writeHead(200);
    response.write('half');
  } else if (url === '/left') {
    left.then((code) => response.end(`left with ${code}`));
  } else if (url === '/redirect') {
    response.writeHead(302, { location: '/echo' });
    response.end();
  } else if (url === '/nothing') {
    response.writeHead(204);
    response.end();
  } else if (url === '/unavailable') {
    response.writeHead(503, { 'retry-after': '1' });
    response.end('busy');
  } else {
    const fields = { ...request.headers };
    // What concerns one hop.
    for (const name of ['connection', 'keep-alive', 'upgrade', 'http2-settings']) delete fields[name];
    const told = {
      method: request.method,
      url,
      fields,
      bytes: body.length,
      sum: crypto.createHash('sha1').update(body).digest('hex'),
      trailers: request.trailers,
    };
    response.setHeader('x-app', 'node');
    response.setHeader('set-cookie', ['a=1', 'b=2']);
    response.end(JSON.stringify(told, Object.keys(told).concat(Object.keys(fields).sort(), Object.keys(request.trailers))));
  }
}

const server = kind === 'h2' ? http2.createServer(serve) : http.createServer(serve);
server.keepAliveTimeout = 60000;
server.listen(Number(port), host);
