// A server on Node's http that prints each request as it read it: one line of JSON. `node origin.js HOST PORT`
'use strict';
const http = require('http');

function tell(request, body, whole) {
  // Bytes are written as Latin-1.
  const told = { method: request.method, target: request.url, host: request.headers.host ?? '', body, whole };
  process.stdout.write(JSON.stringify(told) + '\n');
}

function serve(request, response) {
  const answer = () => response.end(request.url + ' ');
  if (request.url.includes('/early')) {
    // The body is left to Node.
    tell(request, null, true);
    answer();
    return;
  }
  const parts = [];
  request.on('data', (part) => parts.push(part));
  const body = () => Buffer.concat(parts).toString('latin1');
  request.on('end', () => {
    tell(request, body(), request.complete);
    answer();
  });
  request.on('error', () => tell(request, body(), false));
}

const server = http.createServer(serve);
// Both have listeners of their own, or Node refuses what a plain server takes.
server.on('checkContinue', (request, response) => {
  response.writeContinue();
  serve(request, response);
});
server.on('checkExpectation', serve);
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[3]), process.argv[2]);
